// The page's one connection to the Jupyter server, shared by every part of the desk. The kernel is not on this way.

const config = (() => {
  try { return JSON.parse(document.getElementById("jupyter-config-data").textContent); } catch { return {}; }
})();

export const base = config.baseUrl || "/";
const SILENCE_MS = 6000;
const MOST_POINTS = 3000;
const CONTROL_MS = 5000;

const cookie = name => decodeURIComponent(document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "");

async function call(method, route, body) {
  const headers = { "Content-Type": "application/json", "X-XSRFToken": cookie("_xsrf") };
  if (config.token) headers.Authorization = `token ${config.token}`;
  const reply = await fetch(`${base}tradealgo/${route}`, {
    method, headers, credentials: "same-origin", cache: "no-store", keepalive: method === "POST",
    signal: AbortSignal.timeout(CONTROL_MS), body: body && JSON.stringify(body),
  });
  if (reply.ok) return reply.json();
  let says = `${reply.status} ${reply.statusText}`;
  try { says = (await reply.json()).message || says; } catch { /* not JSON: the status is all there is */ }
  throw new Error(says);
}

// What is known of one session: the latest figures and the history that charts draw.
class Model {
  constructor(id) { this.id = id; this.heard = false; this.users = new Set(); this.asked = null; this.clear(); }

  clear() {
    this.shot = {}; this.orders = new Map(); this.fills = []; this.candles = []; this.chart = null;
    this.candleCount = this.fillCount = 0;  // ever, whatever of it is still kept
    this.mtm = { x: [], mtm: [], realised: [], unrealised: [], drawdown: [] };
    this.low = this.high = 0;  // of the MTM, ever
  }

  take(news) {
    if (news.full) this.clear();
    this.heard = true;
    Object.assign(this.shot, news.set);
    for (const row of news.orders ?? []) { this.orders.delete(row.tag); this.orders.set(row.tag, row); }
    while (this.orders.size > 200) this.orders.delete(this.orders.keys().next().value);
    if (news.fills) { this.fills = this.fills.concat(news.fills).slice(-500); this.fillCount += news.fills.length; }
    if (news.chart !== this.chart) { this.chart = news.chart; this.candles = []; }
    if (news.candles) { this.candles = this.candles.concat(news.candles).slice(-1000); this.candleCount += news.candles.length; }
    if (news.mtm) this.extend(news.mtm);
    if (["TRIPPED", "CANCELLING", "FLATTENING", "VERIFIED_FLAT", "LOCKED"].includes(news.set?.kill)) this.asked = null;
    this.tell(news);
  }

  extend(points) {
    const { x, mtm, realised, unrealised, drawdown } = this.mtm;
    for (const point of points) {
      x.push(point[0]); mtm.push(point[1]); realised.push(point[2]); unrealised.push(point[3]); drawdown.push(-Math.abs(point[4]));
      this.low = Math.min(this.low, point[1]); this.high = Math.max(this.high, point[1]);
    }
    if (x.length > MOST_POINTS) this.thin(["x", "mtm", "realised", "unrealised", "drawdown"]);
  }

  // Keep the lowest and the highest of each stretch of time: a six-hour chart stays light, and its beginning as fine as its end.
  thin(names) {
    const { x, mtm } = this.mtm, last = x.length - 1, width = (x[last] - x[0]) / (MOST_POINTS / 4) || 1;
    const low = new Map(), high = new Map();
    x.forEach((at, i) => {
      const stretch = Math.floor((at - x[0]) / width);
      if (!low.has(stretch) || mtm[i] < mtm[low.get(stretch)]) low.set(stretch, i);
      if (!high.has(stretch) || mtm[i] > mtm[high.get(stretch)]) high.set(stretch, i);
    });
    const keep = new Set([0, last, ...low.values(), ...high.values()]);
    for (const name of names) this.mtm[name] = this.mtm[name].filter((_, i) => keep.has(i));
  }

  tell(news = {}) { for (const user of [...this.users]) user(this, news); }
}

class Link {
  constructor() {
    this.connected = false; this.sessions = []; this.models = new Map(); this.watchers = new Set();
    this.wait = 250; this.lastHeard = 0;
    setInterval(() => this.check(), 1000);
    addEventListener("online", () => this.connect());
    this.connect();
  }

  connect() {
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    const address = new URL(`${base}tradealgo/stream`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    if (config.token) address.searchParams.set("token", config.token);
    const socket = this.socket = new WebSocket(address);
    socket.onopen = () => {
      this.connected = true; this.wait = 250; this.lastHeard = Date.now();
      for (const id of this.models.keys()) this.send({ follow: id, again: true });
      this.tell();
    };
    socket.onmessage = event => { this.lastHeard = Date.now(); this.take(JSON.parse(event.data)); };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.connected = false; this.tell();
      setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, 4000);
    };
  }

  // A link that says nothing is down, even if the browser has not noticed.
  check() {
    if (!this.connected || Date.now() - this.lastHeard < SILENCE_MS) return;
    const dead = this.socket;
    this.socket = null; dead.onclose = null; dead.close();
    this.connected = false; this.tell(); this.connect();
  }

  send(message) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message)); }

  take(message) {
    if (message.type === "sessions") {
      this.sessions = message.sessions;
      for (const [id, model] of this.models) if (!model.heard && this.row(id)) this.send({ follow: id });
      for (const watcher of [...this.watchers]) watcher(this);
    } else if (message.type === "view") this.models.get(message.session)?.take(message);
  }

  tell() {
    for (const watcher of [...this.watchers]) watcher(this);
    for (const model of this.models.values()) model.tell();
  }

  row(id) { return this.sessions.find(s => s.session_id === id); }

  // Hear of the connection and the list of sessions; returns the way to stop.
  watch(watcher) { this.watchers.add(watcher); watcher(this); return () => this.watchers.delete(watcher); }

  // Hear of one session, first with all that is known; returns the way to stop.
  follow(id, user) {
    let model = this.models.get(id);
    if (!model) { this.models.set(id, model = new Model(id)); this.send({ follow: id }); }
    model.users.add(user);
    user(model, { full: true });
    return () => {
      model.users.delete(user);
      if (!model.users.size) { this.models.delete(id); this.send({ leave: id }); }
    };
  }

  chart(id, token) { this.send({ follow: id, chart: token }); }

  // Ask something of a session's Gatekeeper. Resolves once the server has passed it on; the state comes by the stream.
  async control(id, action, source, reason = "") {
    this.last = { id, action, at: Date.now() };
    const model = this.models.get(id);
    if (model && action === "kill") { model.asked = { at: Date.now() }; model.tell(); }
    try {
      return await call("POST", `control/${action}`, { session: id, source, reason });
    } catch (error) {
      const says = error.name === "TimeoutError" ? "no answer in 5 s" : error.message;
      if (model) { model.asked = action === "kill" ? { failed: says, at: Date.now() } : null; model.tell(); }
      throw new Error(says);
    }
  }
}

export const link = (window.__tradealgo ??= new Link());
