// What a question is about: the operation as understood, the files, the rule that asks.

import { bytes, exact, make } from "./dom.js";

const NAMES = {
  region: "Region", account: "Account", resource: "Resource", host: "Host", path: "Path",
  method: "Method", database: "Database", user: "User",
};

/** All of it, as elements. */
export function details(question) {
  return [...why(question), ...operations(question), ...files(question)];
}

function why(question) {
  return [
    make("h4", {}, "Why you are asked"),
    make("p", { class: "why" }, exact(question.reason), " ",
      make("span", { class: "rule" }, "rule ", exact(question.rule, "code"))),
  ];
}

function operations(question) {
  const shown = question.acts.map((act) => {
    const facts = [];
    const add = (name, value) => facts.push(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    if (act.credential) add("With credential", exact(act.credential, "code"));
    for (const [name, value] of Object.entries(act.facts)) add(NAMES[name] ?? name, exact(value, "code"));
    for (const [name, value] of Object.entries(act.parameters)) add(exact(name), exact(value, "code"));
    for (const name of act.unknown_parameters) add(exact(name), make("em", {}, "in a file or the body"));
    if (act.rule !== question.rule) add("Rule", exact(act.rule, "code"));
    return make(
      "li", { class: "act" },
      make("p", { class: "action" },
        exact(act.action, "code"),
        make("span", { class: act.mutating ? "badge warn" : "badge calm" }, act.mutating ? "changes something" : "only reads")),
      facts.length ? make("dl", { class: "facts" }, ...facts) : null,
    );
  });
  const title = shown.length === 1 ? "What it does, as understood" : `What it does, as understood (${shown.length} operations)`;
  return [make("h4", {}, title), make("ul", { class: "plain acts" }, ...shown)];
}

function files(question) {
  if (!question.files.length) return [];
  const shown = question.files.map((file) =>
    make("li", { class: "file" },
      make("p", {}, exact(file.path, "code"), make("span", { class: "size" }, ` ${bytes(file.size)}`)),
      file.sha256
        ? make("p", { class: "digest" }, "sha256 ", make("code", {}, file.sha256))
        : make("p", { class: "digest" }, "a folder, whatever is in it")));
  return [make("h4", {}, "What it reads"), make("ul", { class: "plain files" }, ...shown)];
}
