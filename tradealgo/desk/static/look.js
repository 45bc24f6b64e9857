// How things look: elements, figures, times, words.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter(c => c != null && c !== false));
  return element;
}

// What an element is to be, for `fill`.
export const v = (tag, properties = {}, ...children) => ({ tag, properties, children });

// Make an element hold what is told (`v`'s, text), changing only what differs: focus and selection stay, and there is no garbage of nodes.
export function fill(element, ...told) {
  const children = told.flat(Infinity).filter(c => c != null && c !== false && c !== "");
  children.forEach((child, i) => {
    const old = element.childNodes[i], isText = child.tag === undefined;
    if (isText && old?.nodeType === Node.TEXT_NODE) { if (old.data !== String(child)) old.data = child; return; }
    const node = isText ? document.createTextNode(child) : old?.localName === child.tag ? old : document.createElement(child.tag);
    if (old) { if (node !== old) old.replaceWith(node); } else element.append(node);
    if (!isText) { dress(node, child.properties); fill(node, ...child.children); }
  });
  while (element.childNodes.length > children.length) element.lastChild.remove();
}

function dress(element, properties) {
  for (const name of element.getAttributeNames()) if (properties[name] == null || properties[name] === false) element.removeAttribute(name);
  for (const name in properties) {
    const value = properties[name] === true ? "" : properties[name];
    if (value != null && value !== false && element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

const rupees = new Intl.NumberFormat("en-IN", { maximumFractionDigits: 0 });
const exact = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const money = (value, sign = true) =>
  value == null ? "–" : `${value < 0 ? "−" : sign && value > 0 ? "+" : ""}₹${rupees.format(Math.abs(value))}`;
export const price = value => value ? exact.format(value) : "–";
export const number = value => value == null ? "–" : rupees.format(value).replace("-", "−");
export const ms = value => value == null ? "–" : value < 10 ? `${value.toFixed(1)} ms` : value < 1e4 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(0)} s`;
export const trend = value => value > 0 ? "up" : value < 0 ? "down" : "";
export const time = ns => ns ? new Date(ns / 1e6 + 19800000).toISOString().slice(11, 19) : "–";
export const symbol = key => (key ?? "").replace(/^[A-Z]+:/, "");
export const words = text => (text ?? "").replaceAll("_", " ");

export function style(base) {
  if (document.getElementById("tradealgo-style")) return;
  document.head.append(h("link", { id: "tradealgo-style", rel: "stylesheet", href: `${base}tradealgo/static/desk.css` }));
}

// Colours that people with any colour vision can tell apart (Okabe and Ito), for the page's theme.
export function palette(element) {
  const at = getComputedStyle(element);
  const get = name => at.getPropertyValue(name).trim();
  return {
    text: get("--ta-text"), faint: get("--ta-faint"), grid: get("--ta-grid"), ground: get("--ta-ground"), edge: get("--ta-edge"), line: get("--ta-line"), area: get("--ta-area"),
    up: get("--ta-up"), down: get("--ta-down"), limit: get("--ta-limit"), second: get("--ta-second"), font: get("--ta-font"),
  };
}

// Call back when the page changes between light and dark.
export function onTheme(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => { observer.disconnect(); query.removeEventListener("change", callback); };
}
