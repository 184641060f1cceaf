// What text holds that a person wouldn't see, or would take for something else.  Pure.

import { ALIKE } from "./alike.js";

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}\p{Script=Inherited}\p{Default_Ignorable_Code_Point}\u2800\u{1D159}]/u;
// The sidecar writes such characters as escapes already.
const ESCAPE = /\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}/y;
const SCRIPTS = [
  ["Latin", /\p{Script=Latin}/u], ["Greek", /\p{Script=Greek}/u],
  ["Cyrillic", /\p{Script=Cyrillic}/u], ["Armenian", /\p{Script=Armenian}/u],
  ["Cherokee", /\p{Script=Cherokee}/u], ["Georgian", /\p{Script=Georgian}/u],
  ["Hebrew", /\p{Script=Hebrew}/u], ["Arabic", /\p{Script=Arabic}/u],
  ["Coptic", /\p{Script=Coptic}/u], ["Lisu", /\p{Script=Lisu}/u],
];
const LETTER = /[\p{L}\p{Nd}]/u;
const PLAIN = /^[\x20-\x7e]*$/;

/**
 * A text in pieces: `{ text, kind, title }`.
 *
 * kind "": plain.  "hidden": a character that isn't seen, or moves others (⟨U+202E⟩).  "newline":
 * an end of line.  "space": several spaces, counted.  "alike": a character that looks like another
 * one, followed by its code (а⟨U+0430⟩).  All pieces together, apart from the marks, are the text.
 */
export function pieces(text) {
  const found = [];
  let plain = "";
  const flush = () => {
    if (plain) found.push({ text: plain, kind: "", title: "" });
    plain = "";
  };
  const mark = (kind, shown, title) => {
    flush();
    found.push({ text: shown, kind, title });
  };
  for (const part of runs(text)) {
    if (part.kind === "hidden") {
      const code = name(part.code);
      if (part.code === 0x0a && part.count <= 2) {
        for (let i = 0; i < part.count; i++) mark("newline", "⏎", "end of line");
      } else {
        const times = part.count > 1 ? ` × ${part.count}` : "";
        mark("hidden", `⟨${code}${times}⟩`, `a character that isn’t seen (${code})`);
      }
    } else if (part.kind === "space") {
      mark("space", `⟨${part.count} spaces⟩`, "several spaces");
    } else if (part.kind === "alike") {
      const code = name(part.code);
      mark("alike", `${part.text}⟨${code}⟩`, `looks like another character (${code})`);
    } else {
      plain += part.text;
    }
  }
  flush();
  return found;
}

/** Whether a text holds nothing that had to be marked. */
export function isPlain(text) {
  return pieces(text).every((piece) => !piece.kind);
}

function* runs(text) {
  if (PLAIN.test(text) && !text.includes("  ") && !text.includes("\\")) {
    if (text) yield { kind: "", text };
    return;
  }
  const characters = split(text);
  const suspect = lookAlikes(characters);
  for (let i = 0; i < characters.length; i++) {
    const { char, code, hidden } = characters[i];
    if (hidden || char === " ") {
      let count = 1;
      while (characters[i + count]?.code === code && characters[i + count].hidden === hidden) count++;
      if (hidden) yield { kind: "hidden", code, count };
      else if (count > 1) yield { kind: "space", count };
      else yield { kind: "", text: char };
      i += count - 1;
    } else if (suspect[i]) {
      yield { kind: "alike", text: char, code };
    } else {
      yield { kind: "", text: char };
    }
  }
}

function split(text) {
  const characters = [];
  for (let i = 0; i < text.length; ) {
    ESCAPE.lastIndex = i;
    const escape = ESCAPE.exec(text)?.[0];
    if (escape) {
      const code = parseInt(escape.slice(2), 16);
      if (code <= 0x10ffff && isHidden(String.fromCodePoint(code))) {
        characters.push({ char: escape, code, hidden: true });
        i += escape.length;
        continue;
      }
    }
    const code = text.codePointAt(i);
    const char = String.fromCodePoint(code);
    characters.push({ char, code, hidden: isHidden(char) });
    i += char.length;
  }
  return characters;
}

function isHidden(char) {
  return char !== " " && HIDDEN.test(char);
}

// A word of several scripts, or of nothing but look-alikes, deceives; "naïve" or "привет" doesn't.
function lookAlikes(characters) {
  const suspect = new Array(characters.length).fill(false);
  for (let start = 0; start < characters.length; ) {
    let end = start;
    while (end < characters.length && !characters[end].hidden && LETTER.test(characters[end].char)) end++;
    const word = characters.slice(start, end);
    const scripts = new Set(word.map(({ char }) => scriptOf(char)).filter(Boolean));
    const foreign = word.filter(({ code }) => code > 0x7e);
    const letters = foreign.filter(({ char }) => scriptOf(char) !== "Latin");
    const deceives = scripts.size > 1 || (letters.length > 0 && letters.every(({ char }) => ALIKE.has(char)));
    word.forEach(({ char, code }, i) => {
      const other = deceives && code > 0x7e && scriptOf(char) !== "Latin";
      suspect[start + i] = other || isCompatible(char) || (scriptOf(char) === "Latin" && ALIKE.has(char));
    });
    if (end < characters.length && !characters[end].hidden) {
      const { char } = characters[end];
      suspect[end] = isCompatible(char) || ALIKE.has(char);
    }
    start = end + 1;
  }
  return suspect;
}

function scriptOf(char) {
  return SCRIPTS.find(([, script]) => script.test(char))?.[0] ?? "";
}

// Wide, mathematical and other forms of ASCII.
function isCompatible(char) {
  return char > "~" && PLAIN.test(char.normalize("NFKC"));
}

function name(code) {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}
