// Requests to the page's own server, with the token in a header that no browser sends by itself.

import { current } from "./token.js";

/** The server, or the kernel behind it, said no. */
export class Refused extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, {
    ...options,
    headers: { ...options.headers, Authorization: `Bearer ${current()}` },
    cache: "no-store",
    credentials: "omit",
    mode: "same-origin",
    redirect: "error",
    referrerPolicy: "no-referrer",
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error ?? "Unknown", said.message ?? "It failed.");
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  await ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Server-sent events as they come: `{ kind, data }`; ends with the connection. */
export async function* events(signal) {
  const answer = await ask("/api/events", { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let kind = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split("\n");
      text = lines.pop();
      for (const line of lines) {
        if (line.startsWith("event: ")) kind = line.slice(7);
        else if (line.startsWith("data: ")) yield { kind, data: JSON.parse(line.slice(6)) };
        else if (line.startsWith(":")) yield { kind: "beat", data: {} };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
