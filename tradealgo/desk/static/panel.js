// The page of its own: choose a session, watch it, kill it. For a phone, or when JupyterLab is blocked.
import { mount } from "./desk.js";
import { link } from "./link.js";
import { fill, h, money, trend, v, words } from "./look.js";

const page = document.getElementById("panel");
const list = h("nav", { class: "ta-sessions", "aria-label": "sessions" }), stage = h("div");
page.append(h("h1", { class: "ta-brand" }, "TradeAlgo"), list, stage);

list.addEventListener("click", event => {
  const chosen = event.target.closest(".ta-session");
  if (chosen) { show(chosen.dataset.id); link.tell(); }
});

let shown = null, leave = null;
function show(id) {
  if (id === shown) return;
  leave?.();
  shown = id;
  stage.replaceChildren();
  leave = mount(stage, { session: id });
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
}

link.watch(({ sessions, connected }) => {
  if (!sessions.length) {
    fill(list, v("p", { class: "ta-none" }, connected ? "No session yet: launch one from a notebook, or with tradealgo launch." : "Can't reach the Jupyter server. Sessions trade on, guarded. In a terminal: tradealgo status"));
    return;
  }
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (!shown) show(sessions.find(s => s.session_id === wanted)?.session_id ?? sessions[0].session_id);
  fill(list, sessions.slice(0, 8).map(s => v("button", { type: "button", class: `ta-session ta-${s.mode}`, "aria-pressed": String(s.session_id === shown), "data-id": s.session_id },
    v("b", {}, s.strategy), v("span", { class: trend(s.mtm?.mtm) }, money(s.mtm?.mtm)), v("small", {}, `${s.mode} · ${s.status === "PAST" ? "past" : s.status === "ENDED" ? "ended" : words(s.kill && s.kill !== "ARMED" ? s.kill : s.trading ?? s.status).toLowerCase()}`))));
});
