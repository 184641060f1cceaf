// Questions that wait for a person: shown whole, oldest first, answered one by one.

import { post } from "./api.js";
import { byId, command, duration, make } from "./dom.js";
import { guarded, release } from "./guard.js";
import { details } from "./question_parts.js";

/** Milliseconds that an answered question stays, so that nothing moves under a hand at once. */
const STAYS = 3000;
const DEFAULT_MINUTES = 15;

const cards = new Map();
let describe = () => ({ title: "", more: "" });
let announce = () => {};

/** Begin: `kernelText(id)` names a kernel, `say(text)` speaks to those who don't see. */
export function start(kernelText, say) {
  describe = kernelText;
  announce = say;
  setInterval(tick, 500);
}

/** A question that waits. */
export function pending(question) {
  const key = keyOf(question.kernel, question.id);
  const known = cards.get(key);
  if (known) {
    known.end = endOf(question);
    known.stale = false;
    return;
  }
  const card = build(question, key);
  cards.set(key, card);
  byId("question-list").append(card.element);
  const { title } = describe(question.kernel);
  announce(`New question from ${title}: ${question.tool} ${question.shown.slice(0, 3).join(" ")}.`);
  count();
}

/** Somebody answered, or its time is over. */
export function decided(kernel, id, approved, reason) {
  const card = cards.get(keyOf(kernel, id));
  if (card && !card.done) finish(card, approved ? "yes" : "no", reason);
}

/** A kernel ended: nobody waits for its answers. */
export function gone(kernel) {
  for (const card of cards.values()) {
    if (card.kernel === kernel && !card.done) finish(card, "no", "Its kernel has ended.");
  }
}

/** The connection begins anew: what isn't told again doesn't wait any more. */
export function renew() {
  for (const card of cards.values()) card.stale = !card.done;
  setTimeout(() => {
    for (const card of cards.values()) {
      if (card.stale && !card.done) finish(card, "no", "It doesn’t wait any more.");
    }
  }, 2000);
}

/** Names of kernels are known better now. */
export function relabel() {
  for (const card of cards.values()) card.origin.replaceChildren(...originOf(card.question));
}

function keyOf(kernel, id) {
  return `${kernel} ${id}`;
}

function endOf(question) {
  return performance.now() + question.seconds_left * 1000;
}

function build(question, key) {
  const heading = make("h3", { id: `q-${question.id}`, tabindex: "-1" }, ...headingOf(question));
  const left = make("span", { class: "left" });
  const origin = make("p", { class: "origin" }, ...originOf(question));
  const answers = make("div", { class: "answers" });
  const element = make(
    "article", { class: "card question", "aria-labelledby": heading.id },
    make("div", { class: "top" }, heading, left), origin,
    make("h4", {}, "The exact command"), command(question.tool, question.shown),
    ...details(question), answers,
  );
  const card = {
    key, question, kernel: question.kernel, element, heading, origin, left, answers,
    end: endOf(question), done: false, stale: false, busy: false,
  };
  fill(card);
  return card;
}

function headingOf(question) {
  const changes = question.acts.some((act) => act.mutating);
  return [
    make("span", { class: changes ? "badge warn" : "badge calm" }, changes ? "changes something" : "only reads"),
    ` ${question.tool} asks`,
  ];
}

function originOf(question) {
  const { title, more } = describe(question.kernel);
  const cell = question.execution_count ? `cell [${question.execution_count}]` : "";
  const parts = [make("strong", {}, title)];
  for (const part of [cell, more].filter(Boolean)) parts.push(" · ", part);
  return parts;
}

function fill(card) {
  const { question, answers } = card;
  const fault = make("p", { class: "fault", role: "alert" });
  const minutes = make("input", {
    type: "number", min: "1", max: "1440", step: "1", value: DEFAULT_MINUTES,
    inputmode: "numeric", id: `m-${question.id}`,
  });
  const reason = make("input", {
    type: "text", maxlength: "500", autocomplete: "off", id: `r-${question.id}`,
    placeholder: "a sentence for the cell",
  });
  const once = make("button", { type: "button", class: "primary" }, "Allow once");
  const longer = make("button", { type: "button" }, "Allow for this kernel for");
  const deny = make("button", { type: "button", class: "danger" }, "Deny");
  const send = (path, body) => answer(card, fault, path, body);
  guarded(once, answers, () => send("/api/approve", {}));
  guarded(deny, answers, () => send("/api/deny", { reason: reason.value }));
  const allow = make("div", { class: "row" }, once);
  if (question.grantable) {
    guarded(longer, answers, () => {
      if (!minutes.reportValidity()) return;
      send("/api/approve", { minutes: Number(minutes.value) });
    });
    const label = make("label", { for: minutes.id }, "minutes");
    allow.append(make("span", { class: "row tight" }, longer, minutes, label));
  }
  answers.replaceChildren(
    allow,
    make(
      "p", { class: "hint" },
      question.grantable
        ? "For some minutes: the same acts of this kernel, whatever its files hold then."
        : "Too little is known of this to allow it for a while; it can be allowed once.",
    ),
    make(
      "div", { class: "row" }, deny,
      make("label", { for: reason.id, class: "grow" }, make("span", { class: "unseen" }, "Reason of the denial"), reason),
    ),
    fault,
  );
}

async function answer(card, fault, path, body) {
  if (card.busy || card.done) return;
  card.busy = true;
  card.answers.setAttribute("aria-busy", "true");
  fault.textContent = "";
  try {
    await post(path, { kernel: card.kernel, id: card.question.id, ...body });
  } catch (error) {
    fault.textContent = error.message;
  } finally {
    card.busy = false;
    card.answers.removeAttribute("aria-busy");
  }
}

function finish(card, state, reason) {
  card.done = true;
  card.doneAt = performance.now();
  const held = card.element.contains(document.activeElement);
  release(card.answers);
  // As tall as before: what stands below stays where it is.
  card.answers.style.minHeight = `${card.answers.getBoundingClientRect().height}px`;
  const word = state === "yes" ? "✓ Allowed" : "✗ Not allowed";
  card.answers.replaceChildren(
    make("p", { class: `outcome ${state}` }, make("strong", {}, word), make("span", {}, ` ${reason}`)),
  );
  card.element.classList.add("done");
  card.left.textContent = "";
  announce(`${word.slice(2)}: ${card.question.tool}. ${waiting()} wait.`);
  if (held) card.heading.focus({ preventScroll: true });
  count();
}

function tick() {
  const list = byId("question-list");
  const inUse = list.matches(":hover") || list.contains(document.activeElement);
  for (const card of cards.values()) {
    if (!card.done) {
      card.left.textContent = `${duration(Math.max(0, Math.floor((card.end - performance.now()) / 1000) || 0.0))} left`;
    } else if (performance.now() - card.doneAt > STAYS && !inUse) {
      card.element.remove();
      cards.delete(card.key);
      count();
    }
  }
}

function waiting() {
  return [...cards.values()].filter((card) => !card.done).length;
}

function count() {
  const number = waiting();
  byId("waiting").textContent = number ? String(number) : "";
  byId("waiting").hidden = !number;
  byId("no-questions").hidden = cards.size > 0;
  document.title = number ? `(${number}) Keyless` : "Keyless";
}
