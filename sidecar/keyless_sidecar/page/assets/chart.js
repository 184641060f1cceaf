// The picture of when each credential was in use: a lane for each, a bar for each command.

import { lanes } from "./audit.js";
import { clock } from "./dom.js";
import { pieces } from "./marks.js";

const NS = "http://www.w3.org/2000/svg";
const ROW = 28;
const TOP = 6;
const AXIS = 26;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];

/** An SVG of this width for entries; null where no credential was in use. */
export function draw(entries, width, since, now) {
  const found = lanes(entries, now);
  if (!found.length) return null;
  const first = Math.min(...found.flatMap(({ bars }) => bars.map((bar) => bar.from)));
  const left = Math.max(first, since);
  const start = left - Math.max(500, (now - left) * 0.02);
  const label = width < 520 ? 0 : Math.min(200, Math.max(...found.map(({ name }) => seen(name).length)) * 8 + 16);
  const head = label ? 0 : 18;
  const rows = found.map(({ bars }) => stacked(bars, Math.max(1, now - start) * 4 / width));
  const heights = rows.map((each) => head + each.length * ROW + 8);
  const inner = width - label - 8;
  const x = (time) => label + (Math.max(time, start) - start) / Math.max(1, now - start) * inner;
  const height = TOP + heights.reduce((sum, each) => sum + each, 0) + AXIS;
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", summary(found));
  for (const tick of ticks(start, now, inner)) {
    svg.append(shape("line", { class: "grid", x1: x(tick), x2: x(tick), y1: TOP, y2: height - AXIS }));
    svg.append(text(clock(tick).slice(-8), { class: "axis", x: x(tick), y: height - 8, "text-anchor": "middle" }));
  }
  let y = TOP;
  found.forEach(({ name }, index) => {
    const end = y + heights[index] - 4;
    svg.append(shape("line", { class: "base", x1: label, x2: width - 8, y1: end, y2: end }));
    svg.append(text(seen(name), { class: "lane", x: label ? 0 : 2, y: y + (label ? 18 : 13) }));
    rows[index].forEach((bars, row) => {
      for (const bar of bars) svg.append(...barOf(bar, x, y + head + row * ROW + 2, width));
    });
    y += heights[index];
  });
  return svg;
}

// Bars that overlap stand one below the other; `least` is the time that the shortest bar is long.
function stacked(bars, least) {
  const rows = [];
  for (const bar of [...bars].sort((a, b) => a.from - b.from)) {
    const row = rows.find((each) => Math.max(each.at(-1).to, each.at(-1).from + least) <= bar.from);
    if (row) row.push(bar);
    else rows.push([bar]);
  }
  return rows;
}

function barOf({ from, to, entry }, x, y, width) {
  const begin = x(from);
  const long = Math.max(4, Math.min(x(to), width - 8) - begin);
  const box = shape("rect", { class: `use ${entry.state}`, x: begin, y, width: long, height: 24, rx: 4 });
  const title = document.createElementNS(NS, "title");
  const said = seen([entry.tool, ...entry.words].join(" "));
  title.textContent = `${said} (${clock(from)} to ${entry.end === null ? "now" : clock(to)})`;
  box.append(title);
  const requests = entry.records
    .filter((record) => record.kind === "egress.request" && record.fields.stage === "request")
    .map((record) => shape("circle", { class: "sent", cx: Math.min(x(Date.parse(record.time)), width - 10), cy: y + 20, r: 1.5 }));
  const room = Math.floor((long - 12) / 7);
  const words = said.length > room ? `${said.slice(0, Math.max(0, room - 1))}…` : said;
  if (room < 6) return [box, ...requests];
  return [box, ...requests, text(words, { class: "by", x: begin + 6, y: y + 16 })];
}

function ticks(start, end, inner) {
  const span = (end - start) / 1000;
  const most = Math.max(2, Math.floor(inner / 90));
  const step = (STEPS.find((each) => span / each <= most) ?? 86400 * Math.ceil(span / 86400 / most)) * 1000;
  const found = [];
  // On full units of local time.
  const shift = new Date(start).getTimezoneOffset() * 60_000;
  for (let time = Math.ceil((start - shift) / step) * step + shift; time < end; time += step) {
    const share = (time - start) / (end - start);
    if (share * inner > 30 && (1 - share) * inner > 30) found.push(time);
  }
  return found;
}

function summary(found) {
  const parts = found.map(({ name, bars }) => `${seen(name)} in use ${bars.length} times`);
  return `Use of credentials over time: ${parts.join(", ")}. The list below says the same.`;
}

function seen(words) {
  return pieces(words).map((piece) => piece.text).join("");
}

function text(words, attributes) {
  const element = shape("text", attributes);
  element.textContent = words;
  return element;
}

function shape(name, attributes) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
