// Mounts any part of the desk, or all of it, into an element.
import { mtmChart, priceChart } from "./charts.js";
import { killSwitch } from "./kill.js";
import { base, link } from "./link.js";
import { fill, h, style, time, v, words } from "./look.js";
import * as tables from "./tables.js";

// Whether news are about any of some sections, or about all: a reconnect, a fresh start.
const touches = (news, sections) => !news.type || news.full || sections.some(name => name in news || name in (news.set ?? {}));

// Draw when some sections of a session change, at most every so many ms: what is built anew leaves garbage. All that are drawn as often
// are drawn together, and so show the same figures.
export function follow(id, every, draw, sections) {
  let timer = null, frame = null, first = true, model = null;
  const soon = () => {
    frame = requestAnimationFrame(() => { timer = null; first = false; draw(model); });
  };
  const leave = link.follow(id, (now, news) => {
    model = now;
    if (touches(news, sections)) timer ??= setTimeout(soon, first ? 0 : every - performance.now() % every);
  });
  return () => { clearTimeout(timer); cancelAnimationFrame(frame); leave(); };
}

const live = (every, draw, ...sections) => (el, id) => {
  const box = h("div");
  el.append(box);
  return follow(id, every, model => fill(box, model.heard && model.shot.status !== "READING" ? draw(model) : []), [...sections, "status"]);  // an empty table would say: nothing
};

export const FIGURES_MS = 300;

const drawn = chart => (el, id) => {
  const drawing = Promise.resolve(chart(el, id));
  return () => drawing.then(leave => leave());
};

export const PARTS = {
  mtm: drawn(mtmChart), price: priceChart, kill_switch: killSwitch,
  figures: live(FIGURES_MS, tables.figures, "mtm", "capital"),
  alerts: (el, id) => { el.setAttribute("aria-live", "polite"); return live(300, tables.alerts, "alerts")(el, id); },
  positions: live(500, tables.positions, "positions"),
  orders: live(500, tables.orders, "orders"),
  fills: live(500, tables.fills, "fills"),
  health: live(1000, tables.health, "health", "status"),
  latency: live(1000, tables.latency, "latency"),
  risk: live(1000, tables.risk, "rates", "limits", "working_count", "positions"),
  strategy: live(1000, tables.strategy, "strategy", "parameters", "signals", "charts", "positions"),
};
const TITLES = {
  mtm: "Mark to market", price: "Price", kill_switch: "Kill switch", positions: "Positions, before charges", orders: "Orders", fills: "Fills", health: "Modules",
  alerts: "Alerts", latency: "Tick to order", risk: "Limits", strategy: "Strategy", figures: "Figures",
};

const HEADER = ["mode", "strategy", "account", "ts_event", "speed", "trading", "market_open", "status"];

function header(el, id) {
  const bar = h("header", { class: "ta-header" });
  el.append(bar);
  return link.follow(id, ({ shot, heard }, news) => {
    if (!touches(news, HEADER)) return;
    const linked = !link.connected ? ["no server", "bad"] : !heard ? ["looking…", ""] : { RUNNING: ["running", "good"], STARTING: ["starting", "busy"], LOST: ["bus lost", "bad"], ENDED: ["session ended", "past"], READING: ["reading its record…", "past"], PAST: ["past session", "past"] }[shot.status] ?? ["", ""];
    const closed = shot.market_open === false && shot.status === "RUNNING";
    el.dataset.mode = shot.mode ?? "";
    el.dataset.link = link.connected ? shot.status ?? "" : "DOWN";
    fill(bar,
      v("span", { class: "ta-mode" }, shot.mode === "live" ? "LIVE · REAL MONEY" : shot.mode === "paper" ? "PAPER" : "…"),
      v("b", {}, shot.strategy ?? id),
      v("span", { class: "ta-account", title: id }, shot.account ?? ""),
      v("span", { class: "ta-clock", title: "the exchange's time" }, shot.ts_event ? `${new Date(shot.ts_event / 1e6 + 19800000).toISOString().slice(0, 10)} ${time(shot.ts_event)} IST` : "before the open"),
      shot.speed > 1 && v("span", { class: "ta-chip" }, `${shot.speed}× speed`),
      closed && v("span", { class: "ta-chip" }, "market closed"),
      v("span", { class: `ta-trading ta-${closed ? "closed" : (shot.trading ?? "").toLowerCase()}` }, words(shot.trading) || "–"),
      v("span", { class: `ta-linked ${linked[1]}` }, linked[0]));
  });
}

function card(parent, id, part) {
  const body = h("div", { class: "ta-body" });
  const section = h("section", { class: `ta-card ta-card-${part}`, "aria-label": TITLES[part] }, h("h3", {}, TITLES[part]), body);
  parent.append(section);
  return PARTS[part](body, id);
}

// Two parts in one card, one shown at a time.
function tabs(parent, id, parts) {
  const leave = [], heads = h("div", { class: "ta-tabs", role: "tablist" });
  const section = h("section", { class: "ta-card" }, heads);
  const bodies = parts.map(part => { const body = h("div", { class: "ta-body ta-scroll", role: "tabpanel" }); leave.push(PARTS[part](body, id)); return body; });
  const show = chosen => { bodies.forEach((b, i) => { b.hidden = i !== chosen; }); [...heads.children].forEach((t, i) => t.setAttribute("aria-selected", i === chosen)); };
  parts.forEach((part, i) => heads.append(h("button", { type: "button", role: "tab", onclick: () => show(i) }, TITLES[part])));
  section.append(...bodies);
  parent.append(section);
  show(0);
  return () => leave.forEach(l => l());
}

function whole(root, id) {
  const grid = h("div", { class: "ta-grid" });
  const leave = [header(root, id)];
  root.append(grid);
  const left = h("div", { class: "ta-column ta-wide" }), right = h("div", { class: "ta-column" });
  grid.append(left, right);
  leave.push(card(left, id, "mtm"), card(left, id, "price"), card(left, id, "positions"), tabs(left, id, ["orders", "fills", "strategy"]));
  const command = h("section", { class: "ta-card ta-command", "aria-label": "Command" });
  right.append(command);
  leave.push(PARTS.figures(command, id), killSwitch(command, id));
  leave.push(card(right, id, "alerts"), card(right, id, "health"), card(right, id, "risk"), card(right, id, "latency"));
  return () => leave.forEach(l => l());
}

function alone(root, id, part) {
  const body = h("div", { class: "ta-body ta-alone" }), leave = [header(root, id)];
  root.append(body);
  return [...leave, PARTS[part](body, id)];
}

export function mount(el, { session, part = "desk" }) {
  style(base);
  const root = h("div", { class: `ta-desk ta-part-${part}`, "data-session": session });
  el.append(root);
  const leave = part === "desk" ? whole(root, session) : alone(root, session, part);
  return () => { (Array.isArray(leave) ? leave : [leave]).forEach(l => l()); root.remove(); };
}
