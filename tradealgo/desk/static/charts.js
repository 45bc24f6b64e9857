// Charts, in plotly.js from the installed wheel, fed by the server: points are added, never a whole trace sent again.
import { base, link } from "./link.js";
import { h, money, onTheme, palette, symbol } from "./look.js";

let loading;
export function plotly() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  return loading ??= new Promise((resolve, reject) => {
    const define = window.define;  // a page with an AMD loader would swallow the global
    window.define = undefined;
    const done = () => { window.define = define; };
    document.head.append(h("script", {
      src: `${base}tradealgo/plotly.min.js`,
      onload: () => { done(); resolve(window.Plotly); },
      onerror: () => { done(); loading = null; reject(new Error("the chart library did not load from the Jupyter server")); },
    }));
  });
}

function layoutOf(colours, more) {
  const axis = { gridcolor: colours.grid, zerolinecolor: colours.grid, linecolor: colours.grid, tickcolor: colours.grid };
  const { xaxis, yaxis, ...rest } = more;
  return {
    margin: { t: 8, b: 26, l: 62, r: 10 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { family: colours.font, size: 11, color: colours.faint }, hovermode: "x unified", uirevision: "keep",
    hoverlabel: { font: { family: colours.font, size: 11 } },
    xaxis: { ...axis, type: "date", showgrid: false, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

// Figures in rupees, grouped as in India.
const CONFIG = {
  responsive: true, displayModeBar: false, locale: "tradealgo",
  locales: { tradealgo: { moduleType: "locale", name: "tradealgo", dictionary: {}, format: { currency: ["₹", ""], grouping: [3, 2, 2, 2, 2] } } },
};

// Between two drawings a chart rests this many times as long as it drew, within bounds: each drawing leaves garbage.
const REST = 5, LEAST_REST_MS = 250, MOST_REST_MS = 400;

// A chart of a session: `traces`, `layout` and `extend` say what it shows; this draws it, when it can be seen.
async function chart(el, id, { height, traces, layout, extend }) {
  const div = h("div", { class: "ta-chart", style: `height:${height}px` });
  el.append(div);
  let library;
  try { library = await plotly(); } catch (error) { div.textContent = `${error.message}.`; return () => {}; }
  let stale = true, visible = true, closed = false, model = null, drawn = "", timer = null, rested = 0, seen = {};
  const count = () => ({ mtm: model.mtmCount, candles: model.candleCount, fills: model.fillCount });
  const whole = () => {
    const colours = palette(div), next = layout(model, colours);
    stale = false; drawn = JSON.stringify(next);
    library.react(div, traces(model, colours), layoutOf(colours, next), CONFIG);
  };
  const more = () => {
    extend(library, div, model, seen);
    const colours = palette(div), next = layout(model, colours), shape = JSON.stringify(next);
    if (shape !== drawn) { drawn = shape; library.relayout(div, layoutOf(colours, next)); }
  };
  const draw = () => {
    timer = null;
    if (closed || !model || !div.clientWidth) return;
    const began = performance.now();
    if (!stale) try { more(); } catch { stale = true; }
    if (stale) whole();
    seen = count();
    rested = performance.now() + Math.max(LEAST_REST_MS, Math.min(MOST_REST_MS, REST * (performance.now() - began)));
  };
  const soon = () => {
    if (timer || !visible || document.hidden) return;
    timer = setTimeout(draw, Math.max(0, rested - performance.now()));
  };
  const again = () => { stale = true; soon(); };
  const observer = new IntersectionObserver(entries => { visible = entries.at(-1).isIntersecting; soon(); });
  observer.observe(div);
  let width = 0;
  const sizes = new ResizeObserver(() => {  // a side bar that opens is no resize of the window
    if (closed || !div.clientWidth || div.clientWidth === width) return;
    if (width && div.layout) library.Plots.resize(div);
    width = div.clientWidth;
    soon();
  });
  sizes.observe(div);
  const offTheme = onTheme(again);
  document.addEventListener("visibilitychange", soon);
  const leave = link.follow(id, (now, news) => {
    model = now;
    if (news.full || news.redraw) stale = true;
    soon();
  });
  return () => {
    closed = true; clearTimeout(timer); leave(); offTheme(); observer.disconnect(); sizes.disconnect(); document.removeEventListener("visibilitychange", soon);
    library.purge(div); div.remove();
  };
}

const date = ms => new Date(ms).toISOString().slice(0, -1);

function mtmRange(model) {
  const values = model.mtm.mtm, limit = model.shot.mtm?.limit ?? -(model.shot.limits?.max_loss ?? 0);
  let low = limit, high = Math.abs(limit) * 0.25;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  const step = Math.max((high - low) / 12, 1);  // in steps, so that a new point seldom moves the axis
  return [(Math.floor(low / step) - 0.4) * step, (Math.ceil(high / step) + 0.6) * step];
}

export function mtmChart(el, id, height = 300) {
  return chart(el, id, {
    height,
    traces: (model, c) => {
      const x = model.mtm.x.map(date), { mtm, realised, drawdown } = model.mtm;
      const line = (y, name, more) => ({ type: "scatter", mode: "lines", x: x.slice(), y: y.slice(), name, hovertemplate: "%{y:$,.0f}", ...more });
      return [
        line(mtm, "MTM", { line: { color: c.line, width: 2 }, fill: "tozeroy", fillcolor: c.area }),
        line(realised, "realised", { line: { color: c.second, width: 1.2, dash: "dot", shape: "hv" } }),
        line(drawdown.map(d => -Math.abs(d)), "drawdown", { yaxis: "y2", line: { color: c.down, width: 1 }, fill: "tozeroy", fillcolor: `${c.down}33` }),
      ];
    },
    layout: (model, c) => {
      const { mtm, kill } = model.shot, limit = mtm?.limit ?? -(model.shot.limits?.max_loss ?? 0);
      const percent = model.shot.capital ? `${(Math.abs(limit) / model.shot.capital * 100).toFixed(1).replace(".0", "")} %` : "";
      const shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: limit, y1: limit, line: { color: c.limit, width: 1.6, dash: "dash" } }];
      const notes = [{ xref: "paper", x: 0.004, xanchor: "left", y: limit, yanchor: "bottom", showarrow: false, text: `kill at ${money(limit)} (${percent} of capital)`, font: { color: c.limit, size: 11 } }];
      const at = model.shot.ts_event_tripped ? date(model.shot.ts_event_tripped / 1e6 + 19800000) : null;
      if (kill && kill !== "ARMED" && at) {
        shapes.push({ type: "line", x0: at, x1: at, yref: "paper", y0: 0.26, y1: 1, line: { color: c.limit, width: 1.5 } });
        notes.push({ x: at, xanchor: "right", yref: "paper", y: 1, yanchor: "top", showarrow: false, text: "killed ", font: { color: c.limit, size: 11 } });
      }
      return {
        shapes, annotations: notes,
        yaxis: { domain: [0.27, 1], range: mtmRange(model), tickformat: "$,.0f" },
        yaxis2: { domain: [0, 0.19], gridcolor: c.grid, zerolinecolor: c.grid, rangemode: "tozero", nticks: 3, tickformat: "$,.0f", title: { text: "drawdown", font: { size: 10 }, standoff: 4 } },
        xaxis: { anchor: "y2" },
      };
    },
    extend: (library, div, model, seen) => {
      const fresh = model.mtmCount - seen.mtm, tail = name => fresh ? model.mtm[name].slice(-fresh) : [];
      if (!fresh) return;
      const x = tail("x").map(date);
      library.extendTraces(div, { x: [x, x, x], y: [tail("mtm"), tail("realised"), tail("drawdown").map(d => -Math.abs(d))] }, [0, 1, 2]);
    },
  });
}

export function priceChart(el, id, height = 300) {
  const select = h("select", { class: "ta-select", "aria-label": "instrument of the chart", onchange: () => link.chart(id, Number(select.value)) });
  const head = h("div", { class: "ta-chart-head" }, select);
  el.append(head);
  const offer = link.follow(id, model => {
    const rows = model.shot.charts ?? [], seen = rows.map(r => r.instrument_token).join();
    if (select.dataset.seen !== seen) {
      select.replaceChildren(...rows.map(r => h("option", { value: r.instrument_token }, symbol(r.instrument))));
      select.dataset.seen = seen;
    }
    if (model.chart && document.activeElement !== select) select.value = model.chart;
    select.disabled = rows.length < 2;
  });
  // One mark an order: its fills together, at their average price.
  const fills = (model, side) => {
    const orders = new Map();
    for (const f of model.fills) {
      if (f.instrument_token !== model.chart || f.side !== side) continue;
      const sum = orders.get(f.tag) ?? { time: f.time, quantity: 0, value: 0 };
      orders.set(f.tag, { time: sum.time, quantity: sum.quantity + f.quantity, value: sum.value + f.quantity * f.price });
    }
    return [...orders.values()].map(o => ({ ...o, price: o.value / o.quantity }));
  };
  const marks = (rows, name, marker) => ({
    type: "scatter", mode: "markers", x: rows.map(f => date(f.time)), y: rows.map(f => f.price), name, marker: { size: 11, line: { width: 1.2, color: "#fff" }, ...marker },
    text: rows.map(f => `${name} ${f.quantity} at ${f.price.toFixed(2)}`), hoverinfo: "text",
  });
  const column = (model, i) => model.candles.map(c => c[i]);
  const drawing = chart(el, id, {
    height: height - 30,
    traces: (model, c) => {
      return [
        { type: "candlestick", x: model.candles.map(r => date(r[0])), open: column(model, 1), high: column(model, 2), low: column(model, 3), close: column(model, 4), name: "price",
          increasing: { line: { color: c.up, width: 1 }, fillcolor: c.up }, decreasing: { line: { color: c.down, width: 1 }, fillcolor: "rgba(0,0,0,0)" } },
        marks(fills(model, "BUY"), "bought", { symbol: "triangle-up", color: c.up }),
        marks(fills(model, "SELL"), "sold", { symbol: "triangle-down", color: c.down }),
      ];
    },
    layout: (model, c) => {
      const name = model.shot.charts?.find(r => r.instrument_token === model.chart)?.instrument;
      const held = model.shot.positions?.find(p => p.instrument === name && p.quantity);
      const working = [...model.orders.values()].filter(o => o.instrument === name && o.price && !DONE.has(o.state));
      const level = (y, color, dash) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color, width: 1, dash } });
      const note = (y, text, color) => ({ xref: "paper", x: 1, xanchor: "right", y, yanchor: "bottom", showarrow: false, text, font: { color, size: 10 } });
      return {
        xaxis: { rangeslider: { visible: false } }, yaxis: { tickformat: ",.2f" },
        shapes: [...working.map(o => level(o.price, c.second, "dot")), ...(held ? [level(held.average_price, c.line, "dash")] : [])],
        annotations: [...working.map(o => note(o.price, `${o.side} ${o.quantity}`, c.second)), ...(held ? [note(held.average_price, `holding ${held.quantity}`, c.line)] : [])],
      };
    },
    extend: (library, div, model, seen) => {
      if (model.fillCount !== seen.fills) throw new Error("new fills: draw all");
      const fresh = model.candleCount - seen.candles;
      if (!fresh) return;
      const rows = model.candles.slice(-fresh), at = i => [rows.map(c => c[i])];
      library.extendTraces(div, { x: [rows.map(c => date(c[0]))], open: at(1), high: at(2), low: at(3), close: at(4) }, [0]);
    },
  });
  return () => { offer(); drawing.then(leave => leave()); };
}

export const DONE = new Set(["FILLED", "CANCELLED", "REJECTED", "DENIED", "EXPIRED"]);
