// The audit of the running kernels: searched, drawn, listed.

import { get } from "./api.js";
import { entries, filtered, lines } from "./audit.js";
import { draw } from "./chart.js";
import { byId, clock, duration, exact, make } from "./dom.js";
import { kernelText, known } from "./kernels.js";

const PAGE = 50;
const BRIEF = 160;
const WORDS = {
  ok: "done", failed: "failed", denied: "denied", stopped: "stopped", asking: "waits", running: "runs", note: "note",
};

const byKernel = new Map();
const opened = new Set();
let shown = PAGE;
let drawn = "";

/** Begin to listen to the filters. */
export function start() {
  byId("search").addEventListener("input", () => { shown = PAGE; render(); });
  byId("span").addEventListener("change", () => { shown = PAGE; render(); });
  byId("more").addEventListener("click", () => { shown += PAGE; render(); });
  new ResizeObserver(() => render()).observe(byId("entry-list"));
}

/** Read the records of these kernels anew. */
export async function refresh(kernels = known()) {
  for (const kernel of [...byKernel.keys()]) if (!known().includes(kernel)) byKernel.delete(kernel);
  await Promise.all(kernels.map(async (kernel) => {
    const found = await get(`/api/audit?limit=1000&kernel=${encodeURIComponent(kernel)}`).catch(() => null);
    if (found) byKernel.set(kernel, entries(kernel, found.records));
  }));
  render();
}

/** Whether something runs, so that the picture grows. */
export function grows() {
  return [...byKernel.values()].some((all) => all.some((entry) => entry.end === null));
}

export function render() {
  const now = Date.now();
  const span = Number(byId("span").value) * 1000;
  const since = span ? now - span : 0;
  const all = [...byKernel.values()].flat().sort((a, b) => b.start - a.start);
  const found = filtered(all, byId("search").value, since);
  byId("found").textContent = `${found.length} of ${all.length} entries`;
  list(found.slice(0, shown));
  byId("more").hidden = found.length <= shown;
  const chart = byId("chart");
  // Of the place around it: what is hidden has no width.
  const width = Math.floor(byId("entry-list").clientWidth);
  const picture = width > 0 ? draw(found, width, since, now) : null;
  chart.hidden = all.length > 0 && !picture;
  chart.querySelector("svg")?.remove();
  if (picture) chart.append(picture);
}

function list(found) {
  // Only where something changed, so that a reader's place in it isn't lost.
  const key = JSON.stringify(found.map((entry) => [entry.id, entry.kernel, entry.records.length]));
  if (key === drawn) return;
  drawn = key;
  byId("entry-list").replaceChildren(...found.map(row));
}

function row(entry) {
  const key = `${entry.kernel} ${entry.id}`;
  const took = entry.used !== null && entry.end !== null ? duration((entry.end - entry.used) / 1000) : "";
  const details = make(
    "details", { open: opened.has(key) },
    make(
      "summary", {},
      make("time", { datetime: new Date(entry.start).toISOString() }, clock(entry.start)),
      make("span", { class: `badge state ${entry.state}` }, WORDS[entry.state]),
      make("span", { class: "title" }, ...brief([entry.tool, ...entry.words].join(" "))),
      make("span", { class: "by" }, [...entry.credentials, took].filter(Boolean).join(" · ")),
    ),
  );
  const fill = () => {
    if (details.childElementCount === 1) details.append(body(entry));
  };
  details.addEventListener("toggle", () => {
    if (details.open) opened.add(key);
    else opened.delete(key);
    if (details.open) fill();
  });
  if (opened.has(key)) fill();
  return make("li", { class: "entry" }, details);
}

// The whole stands in the details.
function brief(text) {
  return text.length > BRIEF ? [exact(text.slice(0, BRIEF)), " …"] : [exact(text)];
}

function body(entry) {
  const { title, more } = kernelText(entry.kernel);
  return make(
    "div", { class: "records" },
    make("p", { class: "origin" }, exact(title), more ? ` · ${more}` : "", entry.text ? " · " : "", exact(entry.text)),
    ...entry.records.map((record) => make(
      "section", {},
      make("h3", {}, make("code", {}, record.kind), ` ${clock(Date.parse(record.time))}`),
      make("p", { class: "digest" }, `record ${record.record_id}, hash `, make("code", {}, record.hash.slice(0, 16))),
      make("dl", { class: "facts" }, ...lines(record).map(([name, text]) =>
        make("div", {}, make("dt", {}, exact(name)), make("dd", {}, exact(text, "code"))))),
    )),
  );
}
