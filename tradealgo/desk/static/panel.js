// The page of its own: choose a session, watch it, kill it. For a phone, or when JupyterLab is blocked.
import { FIGURES_MS, follow, mount } from "./desk.js";
import { stateOf } from "./kill.js";
import { link } from "./link.js";
import { fill, h, money, trend, v } from "./look.js";

const page = document.getElementById("panel");
const list = h("nav", { class: "ta-sessions", "aria-label": "sessions" }), stage = h("div");
page.append(h("h1", { class: "ta-brand" }, "TradeAlgo"), list, stage);

list.addEventListener("click", event => {
  const chosen = event.target.closest(".ta-session");
  if (chosen) { show(chosen.dataset.id); link.tell(); }
});

let shown = null, leave = null, leaveFigures = null;
function show(id) {
  if (id === shown) return;
  leave?.(); leaveFigures?.();
  shown = id; mtm = null;
  stage.replaceChildren();
  leave = mount(stage, { session: id });
  leaveFigures = follow(id, FIGURES_MS, model => { mtm = model.shot.mtm; draw(link); }, ["mtm"]);
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
}

// The list is told once a second. Of the session that is shown newer figures are on the page, drawn as often: the two must agree.
let mtm = null;
const mtmOf = s => (s.session_id === shown && mtm || s.mtm)?.mtm;

function draw({ sessions, connected }) {
  if (!sessions.length) {
    fill(list, v("p", { class: "ta-none" }, connected ? "No session yet: launch one from a notebook, or with tradealgo launch." : "Can't reach the Jupyter server. Sessions trade on, guarded. In a terminal: tradealgo status"));
    return;
  }
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (!shown) show(sessions.find(s => s.session_id === wanted)?.session_id ?? sessions[0].session_id);
  fill(list, sessions.slice(0, 8).map(s => v("button", { type: "button", class: `ta-session ta-${s.mode}`, "aria-pressed": String(s.session_id === shown), "data-id": s.session_id },
    v("b", {}, s.strategy), v("span", { class: trend(mtmOf(s)) }, money(mtmOf(s))), v("small", {}, `${s.mode} · ${stateOf(s).toLowerCase()}`))));
}

link.watch(draw);
