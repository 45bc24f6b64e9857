// The kill switch: hold to confirm, then the confirmed state, step by step.
import { link } from "./link.js";
import { fill, h, money, number, symbol, time, v, words } from "./look.js";

const STEPS = ["ARMED", "TRIPPED", "CANCELLING", "FLATTENING", "VERIFIED_FLAT", "LOCKED"];
export const HOLD_MS = 500;
const CAUSES = { MTM: "the loss limit", PERSON: "a person", DEAD_MAN: "the dead-man timer", RECONCILIATION: "a mismatch with the broker" };

// A button that acts after being held, by pointer or keyboard.
export function holdButton(label, act, properties = {}) {
  let timer = null;
  const text = h("span", { class: "ta-hold-label" }, label);
  const button = h("button", { type: "button", ...properties }, h("span", { class: "ta-hold-fill" }), text);
  button.style.setProperty("--ta-hold", `${HOLD_MS}ms`);
  const begin = () => {
    if (timer || button.disabled) return;
    button.classList.add("ta-holding");
    timer = setTimeout(() => { end(); act(); }, HOLD_MS);
  };
  const end = () => { clearTimeout(timer); timer = null; button.classList.remove("ta-holding"); };
  button.addEventListener("pointerdown", event => { if (event.button === 0) { button.setPointerCapture(event.pointerId); begin(); } });
  for (const name of ["pointerup", "pointercancel", "blur"]) button.addEventListener(name, end);
  button.addEventListener("pointermove", event => {  // a thumb that wanted to scroll, or a hand that thinks better of it
    const { left, right, top, bottom } = button.getBoundingClientRect();
    if (event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom) end();
  });
  button.addEventListener("keydown", event => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault(); event.stopPropagation();
    if (!event.repeat) begin();
  });
  button.addEventListener("keyup", end);
  button.addEventListener("contextmenu", event => event.preventDefault());
  button.setLabel = words => { text.textContent = words; };
  return button;
}

// After so many seconds without a word from the Gatekeeper a kill is late; while a session starts, after six times as many.
const LATE_S = 5;

const clock = ms => time(ms * 1e6);

const heldOf = shot => (shot.positions ?? []).filter(p => p.quantity).map(p => `${symbol(p.instrument)} ${number(p.quantity)}`).join(", ");

export const isFlat = kill => kill === "VERIFIED_FLAT" || kill === "LOCKED";

// A session in two words, as the top bar and the panel's list say it.
const ENDS = { PAST: "past", ENDED: "session ended", LOST: "bus lost" };
export const stateOf = s => ENDS[s.status] ?? (s.kill && s.kill !== "ARMED" ? words(s.kill) : s.trading === "ACTIVE" && s.market_open === false ? "market closed" : s.trading ?? "starting");

// How it ended, and what it left open: on paper that is gone with its exchange, live it is the broker's still.
function ended({ shot, id }) {
  const { kill, flat_s: flat, mode } = shot, held = heldOf(shot);
  const was = !kill ? "its kill switch has no record" : kill === "ARMED" ? "the kill switch was not tripped" : isFlat(kill) ? `killed, and verified flat${flat == null ? "" : ` in ${flat.toFixed(2)} s`}` : `its kill got as far as ${words(kill).toLowerCase()}`;
  const left = held && !isFlat(kill) ? ` It left ${held} open${mode === "live" ? `: look at the broker's terminal. To make it flat, in a terminal: tradealgo kill ${id}` : ", gone with its paper account"}.` : "";
  return [`This session is over: ${was}.${left}`, left && mode === "live" ? "bad" : ""];
}

// One sentence on where the kill stands: only what has been confirmed is said as fact.
export function says(model) {
  const { kill, cause, reason, flat_s: flat, mtm, status, trading } = model.shot;
  const terminal = `tradealgo kill ${model.id}`;
  if (model.asked?.failed) return [`The kill of ${clock(model.asked.at)} was NOT delivered (${model.asked.failed}). ${link.connected ? "Hold again, or in" : "In"} a terminal: ${terminal}`, "bad"];
  if (!link.connected) return [`Can't reach the Jupyter server. The session trades on, guarded. To kill it, in a terminal: ${terminal}`, "bad"];
  if (!model.heard) return ["Looking for the session…", ""];
  if (status === "READING") return ["Reading the session's record…", ""];
  if (status === "PAST") return ended(model);
  if (status === "ENDED") return ["This session has ended.", ""];
  const lost = status === "LOST";
  if (lost && (!kill || kill === "ARMED")) return [model.asked ? `Kill sent at ${clock(model.asked.at)}, by its flag and by signal. The session's bus can't be reached: what the journal says of the kill comes here within seconds, or in a terminal: ${terminal}`
    : "The session's bus can't be reached; what you see is old. The kill still works, by its flag and by signal.", "bad"];
  if (model.asked) {
    const waited = Math.round((Date.now() - model.asked.at) / 1000);
    if (waited >= LATE_S * (kill ? 1 : 6)) return [`Kill sent ${waited} s ago, and not confirmed yet. It is on disk, and a process of its own sees to it. In a terminal: ${terminal}`, "bad"];
    return [kill ? "Kill sent. Waiting for the Gatekeeper to confirm…" : "Kill sent. The session is still starting: the Gatekeeper takes it up as soon as it is there.", "busy"];
  }
  if (!kill) return ["Starting: the kill switch isn't armed yet. A kill is kept, and done as soon as it is.", "busy"];
  if (kill === "ARMED") {
    if (trading === "HALTED") return [`Halted${reason ? `: ${reason}` : ""}. Orders are cancelled, positions stay.`, "busy"];
    if (trading === "REDUCING") return [`Only what lowers risk may trade${reason ? `: ${reason}` : ""}.`, "busy"];
    return [mtm ? `Armed. Trips by itself at ${money(mtm.limit)}.` : "Armed.", ""];
  }
  const by = CAUSES[cause] ?? "an order";
  if (!isFlat(kill)) return [`Tripped by ${by}. ${{ TRIPPED: "Stopping entries…", CANCELLING: "Cancelling orders…", FLATTENING: "Flattening positions…" }[kill] ?? ""}`, "busy"];
  const seconds = flat == null ? "" : ` in ${flat.toFixed(2)} s`;
  return [`Verified flat${seconds}, by the broker's own positions. Tripped by ${by}.${lost ? " The session's bus can't be reached: the journal says so." : ""}`, "good"];
}

export function steps(model) {
  const at = STEPS.indexOf(model.shot.kill);
  return v("ol", { class: "ta-steps", "aria-label": "kill switch state" }, STEPS.map((step, i) =>
    v("li", { class: i < at ? "ta-past" : i === at ? "ta-now" : "", "aria-current": i === at ? "step" : null, "data-step": step }, words(step).toLowerCase())));
}

// What is asked before an action, in the page: the browser's own confirm() and prompt() stop all its scripts, and with them the hotkey.
const QUESTIONS = {
  halt: ["Halt", "Cancel all working orders and stop trading? Positions stay as they are."],
  resume: ["Resume", "Let the session trade again?"],
  rearm: ["Re-arm…", "Why is it safe to trade again? The reason goes into the journal.", "needed"],
  stop: ["End session", "End the session? Positions stay as they are."],
};

// What is open, or a word of warning, beside a question.
function beside(action, { shot, id }) {
  const held = heldOf(shot);
  if (action === "rearm" && shot.cause === "MTM") return `The loss limit tripped it: on the same day this is refused at first, and then needs, within two minutes, in a terminal: tradealgo rearm ${id} --force --reason "…"`;
  return held && (action === "halt" || action === "stop") ? `Open now: ${held}.` : "";
}

function questions(id, source) {
  const form = h("form", { class: "ta-ask", hidden: true });
  let opener = null;
  const close = () => { form.hidden = true; [opener, ...form.parentNode.querySelectorAll("button")].find(b => b && !b.hidden && !b.disabled)?.focus(); };
  const open = (action, model, button) => {
    const [label, text, needed] = QUESTIONS[action], more = beside(action, model);
    const reason = h("input", { "aria-label": "reason", maxlength: 500, required: !!needed, placeholder: needed ? "reason" : "reason, if you like" });
    const says = h("p", { role: "alert" });
    opener = button;
    form.setAttribute("aria-label", label);
    form.replaceChildren(h("p", {}, text), more && h("p", {}, more), reason,
      h("div", { class: "ta-actions" }, h("button", { class: "ta-action ta-yes" }, label.replace("…", "")), h("button", { type: "button", class: "ta-action", onclick: close }, "Cancel")), says);
    form.onsubmit = event => {
      event.preventDefault();
      link.control(id, action, source, reason.value.trim()).then(close, error => { says.textContent = `Not done: ${error.message}`; });
    };
    form.dataset.action = action;
    form.hidden = false;
    reason.focus();
  };
  form.addEventListener("keydown", event => {
    if (event.key === "Escape") { event.stopPropagation(); close(); }
    if (event.key === "Enter" && event.target.localName === "input") { event.preventDefault(); form.requestSubmit(); }  // a notebook keeps it from doing so by itself
  });
  return { form, open, close };
}

export function killSwitch(el, id, source = "desk") {
  const button = holdButton("Hold to kill", () => link.control(id, "kill", source).catch(() => {}),
    { class: "ta-kill-button", title: "Cancel all orders, flatten, verify. Hold half a second. Hotkey: hold Ctrl+Alt+K" });
  const track = h("div"), line = h("p", { class: "ta-says", role: "status", "aria-live": "polite" });
  const asking = questions(id, source);
  const buttons = Object.fromEntries(Object.entries(QUESTIONS).map(([action, [label]]) =>
    [action, h("button", { type: "button", class: `ta-action ta-${action}`, onclick: event => asking.open(action, current, event.currentTarget) }, label)]));
  const actions = h("div", { class: "ta-actions" }, ...Object.values(buttons));
  el.append(h("div", { class: "ta-kill" }, button, line, track, actions, asking.form));
  const box = el.lastElementChild;
  let current = null;
  return link.follow(id, model => {
    current = model;
    const { kill, trading, status } = model.shot;
    const [text, tone] = says(model);
    const over = status === "PAST" || status === "READING";
    button.disabled = over || isFlat(kill);
    button.setLabel(over ? "Session over" : isFlat(kill) ? "✓ Verified flat" : model.asked && !model.asked.failed ? "Kill sent…" : kill && kill !== "ARMED" ? words(kill) + "…" : "Hold to kill");
    box.dataset.kill = kill ?? ""; box.dataset.tone = tone;
    if (line.textContent !== text) line.textContent = text;  // set again, it would be read out again
    fill(track, steps(model));
    const killed = kill && kill !== "ARMED";
    buttons.halt.hidden = over || killed || trading === "HALTED";
    buttons.resume.hidden = over || killed || trading === "ACTIVE" || !trading;
    buttons.rearm.hidden = over || !isFlat(kill);
    buttons.stop.hidden = over;
    if (!asking.form.hidden && buttons[asking.form.dataset.action].hidden) asking.close();
  });
}
