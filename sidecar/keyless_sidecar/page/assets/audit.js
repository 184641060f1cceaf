// Audit records as what people look for: commands, from what was asked to what came of it.  Pure.

/**
 * Entries, newest first, of one kernel's records in their order.
 *
 * `{ id, kernel, tool, words, state, text, start, end, credentials, records, haystack }`: state is "ok",
 * "failed", "denied", "stopped", "asking", "running" or "note"; times are milliseconds, `end` is
 * null while it runs; credentials are those that were in use.
 */
export function entries(kernel, records) {
  const found = new Map();
  for (const record of records) {
    const { fields } = record;
    const of = typeof fields.request === "string" && fields.request ? fields.request : record.record_id;
    const entry = found.get(of) ?? begin(kernel, of, record);
    found.set(of, entry);
    entry.records.push(record);
    take(entry, record);
  }
  for (const entry of found.values()) entry.haystack = haystack(entry);
  return [...found.values()].reverse();
}

function begin(kernel, id, record) {
  const { fields, kind } = record;
  const asked = kind.endsWith(".request") && !fields.request;
  return {
    id, kernel, start: Date.parse(record.time), end: asked ? null : Date.parse(record.time),
    tool: asked || fields.tool ? String(fields.tool ?? kind.split(".")[0]) : kind,
    words: words(fields), state: asked ? "running" : "note", text: "",
    credentials: new Set(), records: [], used: null,
  };
}

function words(fields) {
  if (Array.isArray(fields.argv)) return fields.argv.map(String);
  const named = ["service", "operation", "action", "name", "reason"].map((name) => fields[name]);
  return named.filter((value) => typeof value === "string" && value);
}

function take(entry, record) {
  const { fields, kind } = record;
  const at = Date.parse(record.time);
  if (kind === "approval.question") [entry.state, entry.text] = ["asking", "waits for a person"];
  if (kind === "approval.answer") {
    const by = fields.by?.via ? ` at the ${fields.by.via}` : "";
    [entry.state, entry.text] = [fields.approved ? "running" : entry.state, fields.approved ? `approved${by}` : `denied${by}`];
  }
  if (kind.endsWith(".decision")) {
    if (fields.allowed) {
      entry.state = "running";
      entry.used = at;
      for (const name of fields.credentials ?? []) entry.credentials.add(name);
    } else {
      Object.assign(entry, { state: "denied", end: at, text: fields.message ?? "denied" });
    }
  }
  if (kind === "egress.request" || kind === "postgres.connect") {
    if (fields.credential) entry.credentials.add(fields.credential);
    entry.used ??= at;
    if (entry.end !== null) entry.end = Math.max(entry.end, at);
  }
  if (kind.endsWith(".result") || kind.endsWith(".closed")) finish(entry, fields, at);
}

function finish(entry, fields, at) {
  entry.end = at;
  const outcome = fields.outcome ?? "Finished";
  const code = fields.exit_code ?? 0;
  if (outcome === "Finished") {
    entry.state = code === 0 ? "ok" : "failed";
    entry.text = code === 0 ? "done" : `exit code ${code}`;
  } else if (outcome === "CommandCancelled" || outcome === "Stopped") {
    [entry.state, entry.text] = ["stopped", fields.message || "stopped"];
  } else if (outcome === "PolicyDenied") {
    [entry.state, entry.text] = ["denied", fields.message || "denied"];
  } else {
    [entry.state, entry.text] = ["failed", fields.message || outcome];
  }
}

function haystack(entry) {
  const parts = entry.records.map((record) => JSON.stringify([record.record_id, record.kind, record.fields]));
  return [entry.tool, entry.words.join(" "), entry.text, entry.state, ...parts].join(" ").toLowerCase();
}

/** Those that hold all words of a search, and begin or go on since a time. */
export function filtered(all, search, since) {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter((entry) =>
    (entry.end === null || entry.end >= since) && wanted.every((word) => entry.haystack.includes(word)));
}

/**
 * When each credential was in use: `[{ name, bars: [{ from, to, entry }] }]`, by name; what runs
 * still goes to `now`.
 */
export function lanes(all, now) {
  const found = new Map();
  for (const entry of all) {
    if (entry.used === null) continue;
    for (const name of entry.credentials) {
      const bars = found.get(name) ?? [];
      found.set(name, bars);
      bars.push({ from: entry.used, to: entry.end ?? now, entry });
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, bars]) => ({ name, bars }));
}

/** Fields of a record as lines for people: `[name, text]`. */
export function lines(record) {
  return Object.entries(record.fields)
    .filter(([name, value]) => name !== "request" && !isEmpty(value))
    .map(([name, value]) => [name.replaceAll("_", " "), typeof value === "string" ? value : JSON.stringify(value)]);
}

function isEmpty(value) {
  return value === null || value === "" || (typeof value === "object" && Object.keys(value).length === 0);
}
