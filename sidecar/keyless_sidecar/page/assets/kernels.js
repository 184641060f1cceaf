// The kernels, with their isolation, tools and credentials by name; and what they run.

import { post } from "./api.js";
import { byId, command, duration, exact, make } from "./dom.js";
import { guarded, release } from "./guard.js";

const LEVELS = {
  "namespaces-root": "sandbox of namespaces, set up by root",
  "namespaces": "sandbox of namespaces",
  "landlock-root": "Landlock and filters, as another user",
  "landlock": "Landlock and filters",
};

let states = [];
const rows = new Map();
const opened = new Set();

/** A kernel's name for people: its notebook, else its id. */
export function kernelText(id) {
  const state = states.find((each) => each.kernel === id);
  const short = id.slice(0, 8);
  const notebook = state?.notebook.split("/").at(-1) ?? "";
  return notebook ? { title: notebook, more: `kernel ${short}` } : { title: `kernel ${short}`, more: "" };
}

/** Show these states, as the server gave them just now. */
export function show(found) {
  states = found;
  byId("no-kernels").hidden = found.length > 0;
  byId("kernel-list").replaceChildren(...found.map(kernelCard));
  showRunning(found);
}

export function known() {
  return states.map((state) => state.kernel);
}

/** What runs now, by records: the kernels' own word. */
export function running() {
  return new Set(states.flatMap((state) => state.running.map((each) => each.record_id)));
}

/** Let the time of running commands go on. */
export function tick() {
  for (const row of rows.values()) {
    row.time.textContent = duration((performance.now() - row.begun) / 1000);
  }
}

function kernelCard(state) {
  const { title, more } = kernelText(state.kernel);
  const tools = state.tools.map((tool) =>
    make("li", {}, make("code", {}, tool.name), ` ${how(tool)}`));
  const credentials = state.credentials.map((each) =>
    make("li", {}, exact(each.name, "code"), ` ${each.kind}, from ${each.source}`));
  const guarantees = make(
    "details", { class: "guarantees", open: opened.has(state.kernel) },
    make("summary", {}, "What is in force"),
    make("ul", {}, ...state.guarantees.map((each) => make("li", {}, each))),
  );
  guarantees.addEventListener("toggle", () => {
    if (guarantees.open) opened.add(state.kernel);
    else opened.delete(state.kernel);
  });
  return make(
    "li", { class: "card kernel" },
    make("h3", {}, exact(title)),
    make("p", { class: "origin" }, [more, counted(state.commands, "command"), counted(state.audit_records, "record")].filter(Boolean).join(" · ")),
    make("p", {}, make("span", { class: "badge level" }, state.level), ` ${LEVELS[state.level] ?? ""}`),
    make("h4", {}, "Tools"), listOr(tools, "none"),
    make("h4", {}, "Credentials, by name"), listOr(credentials, "none"),
    guarantees,
  );
}

function counted(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}

function how(tool) {
  if (!tool.credentials.length) return "without credentials";
  const names = tool.credentials.join(", ");
  return tool.delivery === "proxy" ? `holds placeholders for ${names}` : `gets ${names} by ${tool.delivery}`;
}

function listOr(items, otherwise) {
  return items.length ? make("ul", { class: "names" }, ...items) : make("p", { class: "empty" }, otherwise);
}

function showRunning(found) {
  const list = byId("running-list");
  const now = new Map(found.flatMap((state) => state.running.map((each) => [each.record_id, { ...each, kernel: state.kernel }])));
  for (const [record, row] of rows) {
    if (now.has(record)) continue;
    release(row.element);
    row.element.remove();
    rows.delete(record);
  }
  for (const [record, each] of now) {
    if (rows.has(record)) continue;
    const row = runningRow(each);
    rows.set(record, row);
    list.append(row.element);
  }
  byId("no-running").hidden = rows.size > 0;
  tick();
}

function runningRow(each) {
  const { title } = kernelText(each.kernel);
  const cell = each.execution_count ? ` · cell [${each.execution_count}]` : "";
  const names = each.credentials.length ? ` · with ${each.credentials.join(", ")}` : "";
  const time = make("span", { class: "time" });
  const fault = make("p", { class: "fault", role: "alert" });
  const stop = make("button", { type: "button", class: "danger" }, "Stop", make("span", { class: "unseen" }, ` ${each.tool}`));
  const element = make(
    "li", { class: "card running" },
    command(each.tool, each.argv),
    make("p", { class: "origin" }, exact(title), `${cell}${names}`),
    make("div", { class: "row" }, stop, time),
    fault,
  );
  guarded(stop, element, async () => {
    fault.textContent = "";
    stop.firstChild.textContent = "Stopping…";
    try {
      await post("/api/stop", { kernel: each.kernel, record_id: each.record_id });
    } catch (error) {
      stop.firstChild.textContent = "Stop";
      fault.textContent = error.message;
    }
  });
  return { element, time, begun: performance.now() - each.seconds * 1000 };
}
