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
    hoverlabel: { font: { family: colours.font, size: 11, color: colours.text }, bgcolor: colours.ground, bordercolor: colours.edge },
    xaxis: { ...axis, type: "date", showgrid: false, hoverformat: "%H:%M:%S", ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

// Figures in rupees, grouped as in India.
const CONFIG = {
  responsive: true, displayModeBar: false, locale: "tradealgo",
  locales: { tradealgo: { moduleType: "locale", name: "tradealgo", dictionary: {}, format: { currency: ["₹", ""], grouping: [3, 2, 2, 2, 2] } } },
};

// Between two looks at what is new; and how old a drawing of plotly's may grow where there is a tail, under the pointer and else.
const LOOK_MS = 100, HOVER_MS = 5000, AGAIN_MS = 30000;

// A chart of a session, drawn when it can be seen. `traces` and `layout` are plotly's; `key` tells when they have changed, `rest` (ms) how
// often they are drawn at most: each time leaves megabytes of garbage. So `tail` draws the newest points, until plotly takes them over.
async function chart(el, id, { name, height, rest, traces, layout, key, tail }) {
  const div = h("div", { style: `height:${height}px` }), box = h("div", { class: "ta-chart", role: "img", "aria-label": name }, div);
  el.append(box);
  let library;
  try { library = await plotly(); } catch (error) { div.textContent = `${error.message}.`; return () => {}; }
  const newest = tail?.(box, div);
  let drawn = null, visible = true, closed = false, model = null, timer = null, looked = -Infinity, at = -Infinity;
  const whole = now => {
    const colours = palette(div), first = !div.layout;
    drawn = key(model); at = now;
    newest?.begin(model);
    library.react(div, traces(model, colours), layoutOf(colours, layout(model, colours)), CONFIG);
    if (!first || !newest) return;
    div.on("plotly_afterplot", () => newest.again(model));
    newest.again(model);
  };
  const draw = () => {
    const now = looked = performance.now();
    timer = null;
    if (closed || !model?.heard || !visible || document.hidden || !div.clientWidth) return;
    const old = newest && now - at > (div.matches(":hover") ? HOVER_MS : AGAIN_MS);
    if (drawn === null || old || key(model) !== drawn) {
      if (now - at >= rest) whole(now);
      else timer = setTimeout(draw, LOOK_MS);
    }
    if (div.layout) newest?.grow(model);
  };
  const soon = () => { timer ??= setTimeout(draw, Math.max(0, looked + LOOK_MS - performance.now())); };
  const again = () => { drawn = null; soon(); };
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
    if (news.full) drawn = null;
    soon();
  });
  return () => {
    closed = true; clearTimeout(timer); leave(); offTheme(); observer.disconnect(); sizes.disconnect(); document.removeEventListener("visibilitychange", soon);
    library.purge(div); box.remove();
  };
}

// SVG's name space as the page's own parser knows it: the scripts name no address.
const space = document.createElement("template");
space.innerHTML = "<svg>";

function svg(tag, name, ...children) {
  const element = document.createElementNS(space.content.firstChild.namespaceURI, tag);
  if (name) element.setAttribute("class", name);
  element.append(...children);
  return element;
}

const set = (element, values) => { for (const name in values) element.setAttribute(name, values[name]); };

// One line of a tail, over an axis of plotly's, perhaps with the area to zero below it. What falls on the same half pixel becomes one upright
// stroke: the picture is the same, and a day is no longer than its pixels. A path: a polyline makes an object of each point.
function growing(figures, axis, name, area) {
  const line = svg("path", name), ground = area && svg("path", area);
  let before = "", start = null, at = null, first, low, high, last, shown = "";
  const stroke = y => `${at},${y(first)} ${low < high ? `${at},${y(low)} ${at},${y(high)} ${at},${y(last)} ` : ""}`;
  return {
    figures, axis, elements: ground ? [ground, line] : [line],
    clear: () => { before = ""; start = at = null; },
    add: (x, y, value) => {
      if (x === at) { low = Math.min(low, value); high = Math.max(high, value); last = value; return; }
      if (at !== null) before += stroke(y);
      at = x; start ??= x; first = low = high = last = value;
    },
    show: y => {
      const points = before + stroke(y);
      if (points === shown) return;
      shown = points;
      set(line, { d: `M${points}` });
      if (ground) set(ground, { d: `M${points}${at},${y(0)} ${start},${y(0)}Z` });
    },
  };
}

// The MTM points that plotly hasn't drawn yet, over its axes: lines that grow, and a dot at the last figure.
function mtmTail(box, plot) {
  const lines = [
    growing("mtm", "yaxis", "ta-tail-mtm", "ta-tail-area"), growing("realised", "yaxis", "ta-tail-realised"),
    growing("drawdown", "yaxis2", "ta-tail-drawdown", "ta-tail-lost"),
  ];
  const dot = svg("circle", "ta-tail-dot"), on = axis => lines.filter(l => l.axis === axis).flatMap(l => l.elements);
  const panels = { yaxis: svg("svg", "", ...on("yaxis"), dot), yaxis2: svg("svg", "", ...on("yaxis2")) };
  box.append(svg("svg", "ta-tail", ...Object.values(panels)));
  let until = Infinity, upto = null;  // what plotly has drawn, what the tail has; null before it began
  const grow = ({ mtm }) => {
    const axes = plot._fullLayout, { x } = mtm;
    if (!x.length || !axes.yaxis2) return;
    const down = { yaxis: value => axes.yaxis.l2p(value).toFixed(1), yaxis2: value => axes.yaxis2.l2p(value).toFixed(1) };
    let i = x.length;
    while (i > 0 && x[i - 1] > (upto ?? until)) i--;
    if (upto === null) i = Math.max(0, i - 1);
    for (; i < x.length; i++) {
      const at = Math.round(axes.xaxis.l2p(x[i]) * 2) / 2;
      for (const line of lines) line.add(at, down[line.axis], mtm[line.figures][i]);
    }
    upto = x.at(-1);
    for (const line of lines) line.show(down[line.axis]);
    set(dot, { r: 3, cx: axes.xaxis.l2p(upto).toFixed(1), cy: down.yaxis(mtm.mtm.at(-1)) });
  };
  const again = model => {
    upto = null;
    for (const line of lines) line.clear();
    const { xaxis, ...axes } = plot._fullLayout;
    for (const name in panels) if (axes[name]) set(panels[name], { x: xaxis._offset, y: axes[name]._offset, width: xaxis._length, height: axes[name]._length });
    grow(model);
  };
  return { grow, again, begin: model => { until = model.mtm.x.at(-1) ?? Infinity; } };
}

// Milliseconds do for points, and leave less garbage; an axis or a shape wants text.
const date = ms => new Date(ms).toISOString().slice(0, -1);

const limitOf = ({ mtm, limits }) => mtm?.limit ?? -(limits?.max_loss ?? 0);

// Axes in steps, with some room ahead, so that a new point seldom moves them.
function mtmRange(model) {
  const limit = limitOf(model.shot), low = Math.min(limit, model.low), high = Math.max(Math.abs(limit) * 0.25, model.high);
  const step = 2 ** Math.ceil(Math.log2(Math.max((high - low) / 16, 1)));
  return [(Math.floor(low / step) - 0.4) * step, (Math.ceil(high / step) + 0.6) * step];
}

// What a chart shows before there is anything to show: the session's hours, no figures, and why.
const dayOf = ({ shot }) => shot.hours ? { range: shot.hours.map(date), autorange: false } : { showticklabels: false };
const note = ({ heard, shot }, what) => ({
  xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { size: 13 },
  text: !heard || shot.status === "READING" ? "" : /PAST|ENDED/.test(shot.status) ? `no ${what} was recorded` : `waiting for the first ${what}`,
});

function timeRange({ mtm: { x } }) {
  if (!x.length) return undefined;
  const span = x.at(-1) - x[0], step = 60000 * 2 ** Math.max(0, Math.ceil(Math.log2(span / 60000 / 16)));
  return [x[0], x[0] + (Math.floor(span / step) + 1) * step];
}

export function mtmChart(el, id, height = 300) {
  return chart(el, id, {
    name: "chart of the mark to market", height, rest: 500, tail: mtmTail,
    key: model => [model.heard, model.shot.kill, model.shot.ts_event_tripped, limitOf(model.shot), mtmRange(model), timeRange(model), model.shot.hours, model.shot.status].join(),
    traces: (model, c) => {
      const { mtm, realised, drawdown } = model.mtm, x = model.mtm.x.slice();
      const line = (y, name, more) => ({ type: "scatter", mode: "lines", x, y: y.slice(), name, hovertemplate: "%{y:$,.0f}", ...more });
      return [
        line(mtm, "MTM", { line: { color: c.line, width: 2 }, fill: "tozeroy", fillcolor: c.area }),
        line(realised, "realised", { line: { color: c.second, width: 1.2, dash: "dot", shape: "hv" } }),
        line(drawdown, "drawdown", { yaxis: "y2", showlegend: false, line: { color: c.down, width: 1 }, fill: "tozeroy", fillcolor: `${c.down}33` }),
      ];
    },
    layout: (model, c) => {
      const { kill } = model.shot, limit = limitOf(model.shot);
      const percent = model.shot.capital ? `${(Math.abs(limit) / model.shot.capital * 100).toFixed(1).replace(".0", "")} %` : "";
      const shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: limit, y1: limit, line: { color: c.limit, width: 1.6, dash: "dash" } }];
      const notes = [{ xref: "paper", x: 0.004, xanchor: "left", y: limit, yanchor: "bottom", showarrow: false, text: `kill at ${money(limit)} (${percent} of capital)`, font: { color: c.limit, size: 11 } }];
      const at = model.shot.ts_event_tripped ? date(model.shot.ts_event_tripped / 1e6 + 19800000) : null;
      if (kill && kill !== "ARMED" && at) {
        shapes.push({ type: "line", x0: at, x1: at, yref: "paper", y0: 0.26, y1: 1, line: { color: c.limit, width: 1.5 } });
        notes.push({ x: at, xanchor: "right", yref: "paper", y: 1, yanchor: "top", showarrow: false, text: "killed ", font: { color: c.limit, size: 11 } });
      }
      notes.push({ xref: "paper", x: 0.004, xanchor: "left", yref: "paper", y: 0.19, yanchor: "bottom", showarrow: false, text: "drawdown", font: { size: 10 } });
      const empty = !model.mtm.x.length;
      if (empty) notes.push(note(model, "tick"));
      return {
        shapes, annotations: notes,
        showlegend: true, legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
        yaxis: { domain: [0.27, 1], range: mtmRange(model), tickformat: "$,.0f" },
        yaxis2: { domain: [0, 0.19], gridcolor: c.grid, zerolinecolor: c.grid, rangemode: "tozero", nticks: 3, showticklabels: !empty, tickformat: "$,.0f" },
        xaxis: { anchor: "y2", ...(empty ? dayOf(model) : { range: timeRange(model).map(date) }) },
      };
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
    type: "scatter", mode: "markers", x: rows.map(f => f.time), y: rows.map(f => f.price), name, marker: { size: 11, line: { width: 1.2, color: "#fff" }, ...marker },
    text: rows.map(f => `${name} ${f.quantity} at ${f.price.toFixed(2)}`), hoverinfo: "text",
  });
  const column = (model, i) => model.candles.map(c => c[i]);
  const nameOf = model => model.shot.charts?.find(r => r.instrument_token === model.chart)?.instrument;
  const heldOf = model => model.shot.positions?.find(p => p.instrument === nameOf(model) && p.quantity);
  const workingOf = model => [...model.orders.values()].filter(o => o.instrument === nameOf(model) && o.price && !DONE.has(o.state));
  const drawing = chart(el, id, {
    name: "chart of prices and fills", height: height - 30, rest: 3000,
    key: model => {
      const held = heldOf(model), working = workingOf(model).map(o => `${o.tag} ${o.price} ${o.quantity}`);
      return [model.heard, model.shot.hours, model.shot.status, model.chart, model.candleCount, model.fillCount, held?.quantity, held?.average_price, working].join();
    },
    traces: (model, c) => {
      return [
        { type: "candlestick", x: column(model, 0), open: column(model, 1), high: column(model, 2), low: column(model, 3), close: column(model, 4), name: "price",
          increasing: { line: { color: c.up, width: 1 }, fillcolor: c.up }, decreasing: { line: { color: c.down, width: 1 }, fillcolor: "rgba(0,0,0,0)" } },
        marks(fills(model, "BUY"), "bought", { symbol: "triangle-up", color: c.up }),
        marks(fills(model, "SELL"), "sold", { symbol: "triangle-down", color: c.down }),
      ];
    },
    layout: (model, c) => {
      const held = heldOf(model), working = workingOf(model), empty = !model.candles.length;
      const level = (y, color, dash) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color, width: 1, dash } });
      const label = (y, text, color) => ({ xref: "paper", x: 1, xanchor: "right", y, yanchor: "bottom", showarrow: false, text, font: { color, size: 10 } });
      return {
        xaxis: { rangeslider: { visible: false }, ...(empty ? dayOf(model) : { autorange: true }) }, yaxis: { tickformat: ",.2f", showticklabels: !empty },
        shapes: [...working.map(o => level(o.price, c.second, "dot")), ...(held ? [level(held.average_price, c.line, "dash")] : [])],
        annotations: [...working.map(o => label(o.price, `${o.side} ${o.quantity}`, c.second)), ...(held ? [label(held.average_price, `holding ${held.quantity}`, c.line)] : []), ...(empty ? [note(model, "candle")] : [])],
      };
    },
  });
  return () => { offer(); drawing.then(leave => leave()); };
}

export const DONE = new Set(["FILLED", "CANCELLED", "REJECTED", "DENIED", "EXPIRED"]);
