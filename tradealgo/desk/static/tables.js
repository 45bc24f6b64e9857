// The desk's tables, gauges and tiles: each a function from a model to what `fill` makes of it.
import { DONE } from "./charts.js";
import { money, ms, number, price, symbol, time, trend, v, words } from "./look.js";

const none = text => v("p", { class: "ta-none" }, text);
const arrow = value => value > 0 ? "▲ " : value < 0 ? "▼ " : "";

function table(heads, rows, empty) {
  if (!rows.length) return none(empty);
  return v("table", { class: "ta-table" },
    v("thead", {}, v("tr", {}, heads.map(([text, kind]) => v("th", { class: kind ?? "", scope: "col" }, text)))),
    v("tbody", {}, rows.map(cells => [
      v("tr", { class: cells.note ? "ta-noted" : null }, cells.map((cell, i) => v("td", { class: [heads[i][1] ?? "", cell?.tone ?? ""].join(" ").trim() }, cell?.text ?? cell))),
      cells.note && v("tr", {}, v("td", { class: "ta-note", colspan: heads.length }, cells.note))])));
}

export function figures({ shot }) {
  const { mtm, capital } = shot;
  const used = mtm && mtm.limit ? Math.max(0, -mtm.mtm / -mtm.limit) : 0;
  const tile = (label, value, tone = "") => v("div", { class: "ta-tile" }, v("span", {}, label), v("b", { class: tone }, value));
  return [
    v("div", { class: `ta-mtm-now ${trend(mtm?.mtm)}` }, v("span", {}, "MTM after charges"),
      v("b", {}, mtm ? arrow(mtm.mtm) + money(mtm.mtm) : "–"),
      v("small", {}, mtm ? `${(mtm.mtm / capital * 100).toFixed(2).replace("-", "−")} % of ${money(capital, false)}` : "no price yet")),
    v("div", { class: "ta-tiles" },
      tile("Realised", money(mtm?.realised), trend(mtm?.realised)), tile("Unrealised", money(mtm?.unrealised), trend(mtm?.unrealised)),
      tile("Charges", money(mtm?.charges, false)), tile("Drawdown", money(mtm && -Math.abs(mtm.drawdown)))),
    gauge("Loss limit used", used, mtm ? `${(used * 100).toFixed(0)} % of ${money(mtm.limit)}` : "–"),
  ];
}

function gauge(label, part, text) {
  const level = part > 0.8 ? "bad" : part > 0.5 ? "warn" : "";
  return v("div", { class: `ta-gauge ${level}` }, v("span", {}, label), v("em", {}, text),
    v("div", { class: "ta-bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100) },
      v("i", { style: `width:${Math.min(100, part * 100).toFixed(0)}%` })));
}

export function positions({ shot }) {
  const rows = [...(shot.positions ?? [])].sort((a, b) => !b.quantity - !a.quantity || a.instrument.localeCompare(b.instrument)).reverse();
  rows.sort((a, b) => (b.quantity !== 0) - (a.quantity !== 0));
  const sum = name => { const all = rows.reduce((total, p) => total + p[name], 0); return { text: money(all), tone: trend(all) }; };
  const total = rows.length > 1 ? [["Total", "", "", "", sum("unrealised"), sum("pnl")]] : [];
  return table([["Instrument"], ["Qty", "r"], ["Average", "r wide"], ["Last", "r"], ["Unrealised", "r"], ["P&L", "r"]],
    [...rows.map(p => [symbol(p.instrument), { text: p.quantity ? number(p.quantity) : "flat", tone: p.quantity ? trend(p.quantity) : "faint" },
      price(p.average_price), price(p.last_price), { text: p.quantity ? money(p.unrealised) : "–", tone: trend(p.unrealised) }, { text: money(p.pnl), tone: trend(p.pnl) }]), ...total],
    "No positions yet.");
}

const sideOf = side => ({ text: side, tone: side === "BUY" ? "up" : "down" });

export function orders(model) {
  const all = [...model.orders.values()].reverse();
  const rows = [...all.filter(o => !DONE.has(o.state)), ...all.filter(o => DONE.has(o.state))].slice(0, 40);
  const tone = { FILLED: "", REJECTED: "bad", DENIED: "bad", UNKNOWN: "bad", CANCELLED: "faint", EXPIRED: "faint" };
  return table([["Time"], ["Instrument"], ["Side"], ["Qty", "r"], ["Limit", "r wide"], ["Average", "r"], ["Why", "wide"], ["State"]],
    rows.map(o => Object.assign([time(o.ts_event), symbol(o.instrument), sideOf(o.side), `${number(o.filled_quantity)}/${number(o.quantity)}`, price(o.price), price(o.average_price),
      words(o.intent).toLowerCase(), { text: words(o.state), tone: tone[o.state] ?? "busy" }], { note: tone[o.state] === "bad" && o.text })),
    "No orders yet.");
}

export function fills(model) {
  return table([["Time"], ["Instrument"], ["Side"], ["Qty", "r"], ["Price", "r"]],
    model.fills.slice(-40).reverse().map(f => [time(f.ts_event), symbol(f.instrument), sideOf(f.side), number(f.quantity), price(f.price)]),
    "No fills yet.");
}

const MODULES = ["sentinel", "producer", "consumer", "gatekeeper", "recorder", "monitor", "exchange", "bus"];

export function health({ shot }) {
  const past = shot.status === "PAST";
  const known = Object.entries(shot.health ?? {}).sort(([a], [b]) => MODULES.indexOf(a) - MODULES.indexOf(b));
  if (!known.length) return none(past ? "No heartbeats were recorded." : "No module has beaten yet.");
  return v("ul", { class: "ta-health" }, known.map(([name, beat]) => {
    const tone = past ? "faint" : beat.silent ? "bad" : /STALL|DENIED|BACKING|ERROR|FAIL/.test(beat.state) ? "warn" : "good";
    const says = past ? "recorded" : beat.silent ? `silent ${beat.age_s.toFixed(0)} s` : words(beat.state).toLowerCase();
    return v("li", { class: tone, title: `process ${beat.pid}` }, v("i", { "aria-hidden": "true" }, tone === "good" ? "●" : tone === "warn" ? "◆" : tone === "bad" ? "✖" : "○"), v("b", {}, name), v("span", {}, says));
  }));
}

// An order of unknown fate: what to type, once somebody has looked at the broker's own order book. One click selects it.
function settle(shot, { code, text }) {
  const tag = code.startsWith("SETTLE:") && code.slice(7);
  return tag && v("code", { title: text }, `tradealgo rearm ${shot.session_id} --settle ${tag} --reason "what you saw"`);
}

export function alerts({ shot }) {
  const weight = a => a.code.startsWith("SETTLE:") ? 0 : a.level === "CRITICAL" ? 1 : 2;  // what waits for a person comes first
  const rows = [...(shot.alerts ?? [])].sort((a, b) => weight(a) - weight(b));
  if (!rows.length) return none("Nothing to worry about.");
  const sign = { INFO: "●", WARNING: "◆", CRITICAL: "✖" };
  return v("ul", { class: "ta-alerts" }, rows.slice(0, 12).map(a =>
    v("li", { class: a.level.toLowerCase() }, v("i", { "aria-label": a.level }, sign[a.level]), v("span", {}, a.text), settle(shot, a), v("small", {}, `${a.module} ${a.ts_event ? time(a.ts_event) : "before the first tick"}`))));
}

export function latency({ shot }) {
  const { count, p50, p99, stages } = shot.latency ?? {};
  if (!count) return none("Tick to order: no order yet.");
  const most = Math.max(...stages.map(s => s.p99), 1e-9);
  return [v("p", { class: "ta-line" }, v("b", {}, ms(p50)), " median, ", v("b", {}, ms(p99)), ` p99, ${number(count)} ${count === 1 ? "order" : "orders"}`),
    v("div", { class: "ta-stages" }, stages.map(s => [v("span", {}, s.stage), v("div", { class: "ta-bar", title: `median ${ms(s.p50)}, p99 ${ms(s.p99)}` },
      v("i", { class: "p99", style: `width:${(s.p99 / most * 100).toFixed(0)}%` }), v("i", { style: `width:${(s.p50 / most * 100).toFixed(0)}%` })), v("em", {}, ms(s.p50))]))];
}

export function risk({ shot }) {
  const { rates = {}, limits = {} } = shot;
  const first = (...names) => names.map(n => rates[n]).find(v => typeof v === "number") ?? 0;
  const row = (label, used, limit) => gauge(label, limit ? used / limit : 0, `${number(used)} of ${number(limit)}`);
  const gross = (shot.positions ?? []).reduce((sum, p) => sum + Math.abs(p.quantity) * p.last_price, 0);
  return [
    row("Order calls this second", first("calls_second", "orders_second", "per_second"), limits.orders_per_second),
    row("This minute", first("calls_minute", "orders_minute", "per_minute"), limits.orders_per_minute),
    row("Today", first("calls_day", "orders_day", "per_day"), limits.orders_per_day),
    row("Open orders", shot.working_count ?? 0, limits.max_open_orders),
    gauge("Gross exposure", limits.max_gross_exposure ? gross / limits.max_gross_exposure : 0, money(gross, false)),
  ];
}

export function strategy({ shot }) {
  const parameters = Object.entries(shot.parameters ?? {}).map(([name, value]) => v("span", { class: "ta-chip" }, `${name} ${value}`));
  const names = new Map((shot.charts ?? []).map(r => [r.instrument_token, r.instrument]));
  const held = key => number((shot.positions ?? []).find(p => p.instrument === key)?.quantity ?? 0);
  const words = { 1: ["LONG", "up"], 0: ["FLAT", "faint"], "-1": ["SHORT", "down"] };
  return [v("p", { class: "ta-line" }, v("b", {}, shot.strategy ?? ""), " ", parameters),
    table([["Instrument"], ["Target"], ["Held", "r"], ["Candle"], ["Reason"]],
      (shot.signals ?? []).map(s => [symbol(names.get(s.instrument_token) ?? String(s.instrument_token)), { text: words[s.target][0], tone: words[s.target][1] }, held(names.get(s.instrument_token)), time(s.start), s.reason || "–"]),
      "No signal yet.")];
}
