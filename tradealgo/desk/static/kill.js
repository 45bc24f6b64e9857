// The kill switch: hold to confirm, then the confirmed state, step by step.
import { link } from "./link.js";
import { fill, h, money, v, words } from "./look.js";

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

export const isFlat = kill => kill === "VERIFIED_FLAT" || kill === "LOCKED";

// A session in two words, as the top bar and the panel's list say it.
const ENDS = { PAST: "past", ENDED: "session ended", LOST: "bus lost" };
export const stateOf = s => ENDS[s.status] ?? (s.kill && s.kill !== "ARMED" ? words(s.kill) : s.trading === "ACTIVE" && s.market_open === false ? "market closed" : s.trading ?? "starting");

// One sentence on where the kill stands: only what has been confirmed is said as fact.
export function says(model) {
  const { kill, cause, reason, flat_s: flat, mtm, status, trading } = model.shot;
  const terminal = `tradealgo kill ${model.id}`;
  if (!link.connected) return [`Can't reach the Jupyter server. The session trades on, guarded. To kill it, in a terminal: ${terminal}`, "bad"];
  if (model.asked?.failed) return [`The kill was NOT delivered (${model.asked.failed}). In a terminal: ${terminal}`, "bad"];
  if (!model.heard) return ["Looking for the session…", ""];
  if (status === "PAST") return [`This session is over. It ended ${words(kill ?? "without a record of its kill state")}.`, ""];
  if (status === "ENDED") return ["This session has ended.", ""];
  if (status === "LOST") return [`The session's bus can't be reached; what you see is old. The kill still works, by its flag and by signal.`, "bad"];
  if (model.asked) return ["Kill sent. Waiting for the Gatekeeper to confirm…", "busy"];
  if (!kill || kill === "ARMED") {
    if (trading === "HALTED") return [`Halted${reason ? `: ${reason}` : ""}. Orders are cancelled, positions stay.`, "busy"];
    if (trading === "REDUCING") return [`Only what lowers risk may trade${reason ? `: ${reason}` : ""}.`, "busy"];
    return [mtm ? `Armed. Trips by itself at ${money(mtm.limit)}.` : "Armed.", ""];
  }
  const by = CAUSES[cause] ?? "an order";
  if (!isFlat(kill)) return [`Tripped by ${by}. ${{ TRIPPED: "Stopping entries…", CANCELLING: "Cancelling orders…", FLATTENING: "Flattening positions…" }[kill] ?? ""}`, "busy"];
  const seconds = flat == null ? "" : ` in ${flat.toFixed(2)} s`;
  return [`Verified flat${seconds}, by the broker's own positions. Tripped by ${by}.`, "good"];
}

export function steps(model) {
  const at = STEPS.indexOf(model.shot.kill ?? "ARMED");
  return v("ol", { class: "ta-steps", "aria-label": "kill switch state" }, STEPS.map((step, i) =>
    v("li", { class: i < at ? "ta-past" : i === at ? "ta-now" : "", "aria-current": i === at ? "step" : null, "data-step": step }, words(step).toLowerCase())));
}

export function killSwitch(el, id, source = "desk") {
  const button = holdButton("Hold to kill", () => link.control(id, "kill", source).catch(() => {}),
    { class: "ta-kill-button", title: "Cancel all orders, flatten, verify. Hold half a second. Hotkey: hold Ctrl+Alt+K" });
  const track = h("div"), line = h("p", { class: "ta-says", role: "status", "aria-live": "polite" });
  const actions = h("div", { class: "ta-actions" });
  const box = h("div", { class: "ta-kill" }, button, line, track, actions);
  el.append(box);
  const ask = (action, question, needsReason) => () => {
    const reason = needsReason ? prompt(question) : confirm(question) ? "asked on the desk" : null;
    if (reason) link.control(id, action, source, reason).catch(error => alert(`Not done: ${error.message}`));
  };
  const choices = {
    halt: ["Halt", "Cancel all working orders and stop trading? Positions stay as they are."],
    resume: ["Resume", "Let the session trade again?"],
    rearm: ["Re-arm…", "Why is it safe to trade again? The reason goes into the journal.", true],
    stop: ["End session", "End the session? Positions stay as they are."],
  };
  const buttons = Object.fromEntries(Object.entries(choices).map(([action, [label, ...rest]]) =>
    [action, h("button", { type: "button", class: `ta-action ta-${action}`, onclick: ask(action, ...rest) }, label)]));
  actions.append(...Object.values(buttons));
  return link.follow(id, model => {
    const { kill, trading, status } = model.shot;
    const [text, tone] = says(model);
    const over = status === "PAST";
    button.disabled = over || isFlat(kill);
    button.setLabel(over ? "Session over" : isFlat(kill) ? "✓ Verified flat" : model.asked && !model.asked.failed ? "Kill sent…" : kill && kill !== "ARMED" ? words(kill) + "…" : "Hold to kill");
    box.dataset.kill = kill ?? ""; box.dataset.tone = tone;
    line.textContent = text;
    fill(track, steps(model));
    const killed = kill && kill !== "ARMED";
    buttons.halt.hidden = over || killed || trading === "HALTED";
    buttons.resume.hidden = over || killed || trading === "ACTIVE" || !trading;
    buttons.rearm.hidden = over || !isFlat(kill);
    buttons.stop.hidden = over;
  });
}
