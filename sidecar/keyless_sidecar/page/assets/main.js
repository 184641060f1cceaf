// The page: connect, listen, and let each part show what it is told.

import { Refused, events, get } from "./api.js";
import { byId } from "./dom.js";
import * as kernels from "./kernels.js";
import * as questions from "./questions.js";
import * as timeline from "./timeline.js";
import { accept, current, forget } from "./token.js";

/** Milliseconds: between two tries to connect; until a silent connection counts as broken. */
const RETRY = 1500;
const SILENCE = 25_000;
/** Milliseconds that news are gathered before states are asked for. */
const GATHER = 150;

let refreshing = 0;

function say(text) {
  byId("news").textContent = text;
}

function link(state, text) {
  byId("link").dataset.state = state;
  if (byId("link-text").textContent !== text) byId("link-text").textContent = text;
}

function refreshSoon() {
  refreshing ||= setTimeout(async () => {
    refreshing = 0;
    try {
      kernels.show((await get("/api/kernels")).kernels);
      questions.relabel();
      await timeline.refresh();
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
    }
  }, GATHER);
}

function take({ kind, data }) {
  if (kind === "beat") return;
  if (kind === "pending") questions.pending(data);
  if (kind === "decided") questions.decided(data.kernel, data.id, data.approved, data.reason);
  if (kind === "gone") questions.gone(data.kernel);
  refreshSoon();
}

async function listen() {
  const control = new AbortController();
  let silence = setTimeout(() => control.abort(), SILENCE);
  try {
    questions.renew();
    for await (const event of events(control.signal)) {
      clearTimeout(silence);
      silence = setTimeout(() => control.abort(), SILENCE);
      link("on", "Live");
      take(event);
    }
  } finally {
    clearTimeout(silence);
    control.abort();
  }
}

async function run() {
  byId("entry").hidden = true;
  byId("board").hidden = false;
  link("off", "Connecting…");
  while (current()) {
    try {
      await listen();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        forget();
        ask("This token isn’t the page’s; perhaps it was started anew since.");
        return;
      }
      if (error instanceof Refused) say(error.message);
    }
    link("off", "Not connected: is `jupyter keyless page` still running?");
    await new Promise((resolve) => { setTimeout(resolve, RETRY); });
  }
}

function ask(fault = "") {
  byId("board").hidden = true;
  byId("entry").hidden = false;
  byId("entry-fault").textContent = fault;
  byId("entry-token").focus();
  link("off", "Not connected");
}

byId("entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const pasted = byId("entry-token").value;
  byId("entry-token").value = "";
  if (accept(pasted)) run();
  else byId("entry-fault").textContent = "That isn’t a token: it has 43 letters, digits, - and _.";
});
window.addEventListener("hashchange", () => location.reload());
setInterval(() => { kernels.tick(); }, 500);
setInterval(() => { if (timeline.grows() && document.visibilityState === "visible") timeline.render(); }, 2000);
questions.start(kernels.kernelText, say);
timeline.start();
if (current()) run();
else ask();
