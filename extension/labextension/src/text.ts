/** Text as a person is to see it.  Whatever comes from a notebook goes through `visible`. */

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

/** A text whose hidden characters (control, direction, joiners) are written as escapes. */
export function visible(text: string): string {
  return text.replace(HIDDEN, character => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

const PLAIN = /^[\p{L}\p{N}_@%+=:,./-]+$/u;

/** A command line: other than plain words are quoted, so that it is clear where each ends. */
export function commandLine(tool: string, words: string[]): string {
  return [tool, ...words].map(quoted).join(' ');
}

function quoted(word: string): string {
  const text = visible(word);
  if (PLAIN.test(text)) {
    return text;
  }
  return text.includes("'") ? JSON.stringify(text) : `'${text}'`;
}

/** At most so many characters; the middle is left out, never the end. */
export function shortened(text: string, most: number): string {
  const characters = [...text];
  if (characters.length <= most) {
    return text;
  }
  const half = Math.floor((most - 3) / 2);
  return `${characters.slice(0, half).join('')} … ${characters.slice(-half).join('')}`;
}

export function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** An element with text in it; there is no way to put HTML into one. */
export function element(tag: string, className = '', text = ''): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
