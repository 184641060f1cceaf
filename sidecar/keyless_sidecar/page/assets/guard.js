// Keeps an answer from being given by accident, or by a click that was meant for something else.
//
// A button counts only after what it belongs to has stood still, in a window that had the focus, for
// a moment: a question that appears or moves under the pointer, or a window that another page
// closes just before the second click, finds it inactive.

/** Milliseconds that everything must have stood still. */
export const SETTLE = 500;
const LOOK = 100;

const watched = new Map();
let undisturbed = performance.now();
let timer = 0;

for (const kind of ["focus", "blur", "resize"]) window.addEventListener(kind, disturb);
document.addEventListener("visibilitychange", disturb);
document.addEventListener("fullscreenchange", disturb);
document.addEventListener("scroll", look, { capture: true, passive: true });

/** Make a button do something when a person presses it, once `place` has stood still. */
export function guarded(button, place, action) {
  let ready = false;
  if (!watched.has(place)) watched.set(place, { at: "", since: performance.now(), buttons: [] });
  watched.get(place).buttons.push(button);
  button.setAttribute("aria-disabled", "true");
  button.addEventListener("pointerdown", () => { ready = settled(place); });
  button.addEventListener("keydown", (event) => {
    if (event.repeat) event.preventDefault();
    ready = settled(place) && !event.repeat;
  });
  button.addEventListener("click", (event) => {
    // detail: how many clicks in a row; 0 by keyboard.
    if (!event.isTrusted || event.detail > 1) return;
    if (!ready || !settled(place)) {
      tell(button);
      return;
    }
    ready = false;
    action();
  });
  timer ||= setInterval(look, LOOK);
  look();
}

/** No more buttons there. */
export function release(place) {
  watched.delete(place);
  if (!watched.size) timer = clearInterval(timer) ?? 0;
}

/** Whether a place has stood still for long enough. */
export function settled(place) {
  look();
  const now = performance.now();
  const spot = watched.get(place);
  return Boolean(
    spot && document.visibilityState === "visible" && document.hasFocus() &&
      now - spot.since >= SETTLE && now - undisturbed >= SETTLE,
  );
}

// A person whose press didn't count sees and hears that.
function tell(button) {
  button.classList.add("ignored");
  setTimeout(() => button.classList.remove("ignored"), 800);
  document.getElementById("news").textContent = "That press didn’t count, since something had just moved. Press again.";
}

function disturb() {
  undisturbed = performance.now();
  for (const { buttons } of watched.values()) show(buttons, false);
}

function look() {
  const now = performance.now();
  for (const [place, spot] of watched) {
    const box = place.getBoundingClientRect();
    const at = `${Math.round(box.left)},${Math.round(box.top)},${Math.round(box.width)}`;
    if (at !== spot.at) [spot.at, spot.since] = [at, now];
    show(spot.buttons, now - spot.since >= SETTLE && now - undisturbed >= SETTLE);
  }
}

function show(buttons, active) {
  for (const button of buttons) button.setAttribute("aria-disabled", String(!active));
}
