// Elements made of plain values: text is only ever set as text.

import { pieces } from "./marks.js";

/** An element: `make("p", { class: "why" }, "text", child)`.  Names beginning with "on" are listeners. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text from elsewhere, with everything that hides or deceives marked. */
export function exact(text, name = "span", attributes = {}) {
  const element = make(name, { ...attributes, class: `exact ${attributes.class ?? ""}`.trim() });
  for (const piece of pieces(String(text))) {
    if (!piece.kind) element.append(piece.text);
    else element.append(make("span", { class: `mark ${piece.kind}`, title: piece.title }, piece.text));
    if (piece.kind === "newline") element.append("\n");
  }
  return element;
}

/** A command, each word apart from the next, so that nothing in a word looks like two. */
export function command(tool, words) {
  const shown = [make("span", { class: "word tool" }, exact(tool))];
  for (const word of words) {
    shown.push(" ", make("span", { class: "word" }, word === "" ? empty() : exact(word)));
  }
  return make("div", { class: "command" }, ...shown);
}

function empty() {
  return make("span", { class: "mark hidden", title: "an empty argument" }, "⟨empty⟩");
}

export function byId(id) {
  return document.getElementById(id);
}

/** Seconds as people say them: 0.4 s, 12 s, 3:05, 1:02:09. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const whole = Math.floor(seconds);
  const pad = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** Bytes, exact, and roughly where there are many. */
export function bytes(size) {
  const exactly = `${size.toLocaleString("en")} bytes`;
  if (size < 10_000) return exactly;
  const units = ["kB", "MB", "GB"];
  let value = size / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value.toFixed(1)} ${units[unit]} (${exactly})`;
}

/** Time of day, with the date where it isn't today's. */
export function clock(milliseconds) {
  const then = new Date(milliseconds);
  const time = then.toLocaleTimeString("en-GB");
  const today = then.toDateString() === new Date().toDateString();
  return today ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}
