// The token: taken from the address once, taken out of the address, kept in this module alone.

let token = take();

function take() {
  const found = location.hash.slice(1);
  if (!looksRight(found)) return "";
  history.replaceState(null, "", location.pathname);
  return found;
}

/** The token, empty where there is none. */
export function current() {
  return token;
}

/** Take a token, or the whole link with it, that a person pasted; false where it can't be one. */
export function accept(pasted) {
  const found = pasted.trim().split("#").at(-1);
  if (!looksRight(found)) return false;
  token = found;
  return true;
}

/** Forget it. */
export function forget() {
  token = "";
}

function looksRight(text) {
  return /^[A-Za-z0-9_-]{43}$/.test(text);
}
