// JupyterLab's top bar: mode, MTM and trading state of the session that matters most, its kill, and the hotkey.
import { HOLD_MS, holdButton, isFlat, stateOf } from "./kill.js";
import { base, link } from "./link.js";
import { fill, h, money, style, trend, v, words } from "./look.js";

const running = () => link.sessions.filter(s => s.status !== "PAST");
const killable = () => running().filter(s => !isFlat(s.kill));

// Shown above everything, modal dialogs included: a popover is in the browser's top layer.
function overlay(text, tone = "") {
  document.querySelector(".ta-overlay")?.remove();
  const box = h("div", { class: `ta-overlay ${tone}`, popover: "manual", role: "alert" }, text);
  document.body.append(box);
  box.showPopover?.();
  return box;
}

async function killAll(source) {
  const targets = killable();
  if (!targets.length) {
    const text = link.connected ? "No running session to kill." : "Can't reach the Jupyter server. In a terminal: tradealgo kill";
    const box = overlay(text);
    setTimeout(() => box.remove(), 4000);
    return;
  }
  const box = overlay(`Killing ${targets.map(s => s.strategy).join(", ")}…`);
  box.title = "click to close";
  box.onclick = () => box.remove();
  const ids = targets.map(s => s.session_id);
  const failed = (await Promise.allSettled(ids.map(id => link.control(id, "kill", source)))).filter(r => r.status === "rejected");
  if (failed.length) {
    box.textContent = `The kill was NOT delivered: ${failed[0].reason.message}. In a terminal: tradealgo kill`;
    return;
  }
  const leave = link.watch(() => {
    const rows = ids.map(id => link.row(id));
    box.textContent = rows.map(r => `${r?.strategy}: ${words(r?.kill) || "waiting for the Gatekeeper"}`).join("\n");
    if (rows.every(r => isFlat(r?.kill))) {
      box.textContent = `Verified flat: ${rows.map(r => r.strategy).join(", ")}.`;
      setTimeout(() => { leave(); box.remove(); }, 5000);
    }
  });
}

// Hold Ctrl+Alt+K. On the window, in the capture phase: it comes before any dialog or editor.
function hotkey() {
  let timer = null, box = null;
  const end = () => { clearTimeout(timer); timer = null; box?.remove(); box = null; };
  addEventListener("keydown", event => {
    if (!(event.ctrlKey && event.altKey && event.code === "KeyK")) return;
    event.preventDefault(); event.stopImmediatePropagation();
    if (event.repeat || timer) return;
    box = overlay(`Keep holding to kill ${killable().map(s => s.strategy).join(", ") || "all sessions"}…`);
    timer = setTimeout(() => { end(); killAll("hotkey"); }, HOLD_MS);
  }, true);
  addEventListener("keyup", () => { if (timer) end(); }, true);
  addEventListener("blur", () => { if (timer) end(); });
}

export function topBar(el) {
  style(base);
  el.classList.add("ta-top");
  const words_ = h("span", { class: "ta-words", style: "display:contents" });
  const button = holdButton("Kill", () => killAll("topbar"), { class: "ta-top-kill", title: "Kill every running session. Hold half a second, or hold Ctrl+Alt+K anywhere" });
  el.append(words_, button);
  hotkey();
  return link.watch(({ connected }) => {
    const all = running(), first = all[0];
    el.classList.toggle("ta-live", first?.mode === "live");
    button.disabled = connected && !killable().length;
    el.hidden = connected && !first;
    button.setLabel(killable().length > 1 ? `Kill all ${killable().length}` : "Kill");
    if (!connected) { fill(words_, v("span", { class: "bad" }, "✖ no Jupyter server")); return; }
    if (!first) { fill(words_); return; }
    const killed = first.kill && first.kill !== "ARMED";
    const tone = first.status === "ENDED" ? "" : isFlat(first.kill) ? "good" : killed || first.status === "LOST" || first.trading === "HALTED" ? "bad" : first.trading === "REDUCING" ? "warn" : "";
    fill(words_, v("span", { class: "ta-mode" }, first.mode === "live" ? "LIVE" : "PAPER"),
      v("a", { href: `${base}tradealgo/panel#${encodeURIComponent(first.session_id)}`, target: "_blank", style: "color:inherit", title: "open the panel" }, first.strategy),
      v("b", { class: trend(first.mtm?.mtm) }, money(first.mtm?.mtm)), v("span", { class: tone }, stateOf(first)), all.length > 1 ? v("span", { class: "ta-more", title: "more running sessions" }, `+${all.length - 1}`) : "");
  });
}
