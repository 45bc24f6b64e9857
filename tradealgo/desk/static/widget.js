// What a widget or an output carries: the way to the desk's scripts on the Jupyter server, and a picture for where there is none.
function base() {
  try { return JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl || "/"; } catch { return null; }
}
async function render({ model, el }) {
  const at = base();
  try {
    if (!at) throw new Error("no Jupyter server");
    const desk = await import(`${location.origin}${at}tradealgo/static/desk.js`);
    return desk.mount(el, { session: model.get("session_id"), part: model.get("part") });
  } catch {
    el.innerHTML = model.get("picture");
  }
}
export default { render };
