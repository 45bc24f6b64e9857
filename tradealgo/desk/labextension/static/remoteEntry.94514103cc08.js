// A module-federation container written by hand: JupyterLab needs init() and get(), and no bundler. Its name has its contents' hash
// (a test says which): JupyterLab tells browsers to keep it for a year, and never to ask again.
(() => {
  const MIME = "application/vnd.tradealgo.desk+json";
  let scope;
  const shared = async name => {
    const versions = scope[name];
    return (await versions[Object.keys(versions)[0]].get())();
  };
  const base = () => {
    try { return JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl || "/"; } catch { return "/"; }
  };
  const script = name => import(/* webpackIgnore: true */ `${location.origin}${base()}tradealgo/static/${name}`);

  // A live kernel isn't restarted or shut down by accident while a session runs: the session would go on without its notebook.
  const guardRestart = async app => {
    const { Dialog, showDialog } = await shared("@jupyterlab/apputils");  // the browser's own confirm() stops the page, and with it the hotkey
    const execute = app.commands.execute.bind(app.commands);
    const isLive = () => app.shell.currentWidget?.sessionContext?.session?.kernel?.name === "tradealgo-live";
    const running = () => (window.__tradealgo?.sessions ?? []).filter(s => s.status !== "PAST");
    let agreed = 0;  // one command runs another: asked once
    app.commands.execute = async (id, args) => {
      const names = running().map(s => `${s.strategy} (${s.mode}, ${s.kill !== "ARMED" && s.kill || s.trading || s.status})`);
      if (names.length && Date.now() - agreed > 1000 && isLive() && /restart|shut-?down|change-kernel/i.test(id)) {
        const says = `Running: ${names.join(", ")}. It trades on whatever becomes of this kernel; attach() finds it again. Variables of this notebook are lost.`;
        const { button } = await showDialog({ title: "A session is running", body: says, buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Go on" })], defaultButton: 0 });
        if (!button.accept) return null;
        agreed = Date.now();
      }
      return execute(id, args);
    };
  };

  // The top bar and the hotkey.
  const extension = async () => {
    const { Widget } = await shared("@lumino/widgets");
    return {
      id: "tradealgo:topbar",
      description: "Mode, MTM, trading state and kill switch of the running session, in the top bar.",
      autoStart: true,
      activate: app => {
        const widget = new Widget();
        widget.id = "tradealgo-top";
        app.shell.add(widget, "top", { rank: 1000 });
        guardRestart(app);
        script("topbar.js").then(({ topBar }) => topBar(widget.node)).catch(error => {
          widget.node.textContent = "TradeAlgo: the server extension is off";
          console.warn("tradealgo: top bar not loaded", error);
        });
      },
    };
  };

  // Outputs of desk(session): drawn by the page from the server's stream, with no kernel and after any reload.
  const mime = async () => {
    const { Widget } = await shared("@lumino/widgets");
    class Output extends Widget {
      async renderModel(model) {
        if (this.leave) return;
        this.leave = () => {};
        try {
          const { mount } = await script("desk.js");
          if (!this.isDisposed) this.leave = mount(this.node, model.data[MIME]);
        } catch (error) {
          this.leave = null;
          this.node.innerHTML = model.data["text/html"] ?? "";
          if (!this.node.innerHTML) this.node.textContent = "The desk needs the tradealgo server extension.";
        }
      }
      dispose() {
        if (!this.isDisposed) this.leave?.();
        super.dispose();
      }
    }
    return {
      id: "tradealgo:output",
      description: "Shows the desk of a session.",
      rank: -100,
      dataType: "json",
      rendererFactory: { safe: true, mimeTypes: [MIME], createRenderer: () => new Output() },
    };
  };

  const modules = { "./extension": extension, "./mime": mime };
  (window._JUPYTERLAB = window._JUPYTERLAB || {}).tradealgo = {
    init: given => { scope = given; },
    get: async name => {
      const plugin = await modules[name]();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
