// Workroom in JupyterLab: its tiles in the launcher, its panels, and `lab?workroom=terminal`.
//
// A module-federation container written by hand: JupyterLab hands it its own modules (`init`) and
// asks for the plugin (`get`). There is nothing to build, and nothing is loaded beside this file.
(() => {
  "use strict";

  const SECTION = "Workroom";
  const BEHIND_NOTEBOOKS = 10; // JupyterLab's own sections: Notebook 0, Console 20, Other 100
  const TERMINAL = "terminal:create-new";
  const FILE_WITHIN = 5000; // milliseconds; a file that takes longer does not hold the terminal up

  const MODULES = {
    application: "@jupyterlab/application",
    apputils: "@jupyterlab/apputils",
    coreutils: "@jupyterlab/coreutils",
    launcher: "@jupyterlab/launcher",
    services: "@jupyterlab/services",
    icons: "@jupyterlab/ui-components",
    widgets: "@lumino/widgets",
  };
  let scope;

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.workroom = {
    init(shared) {
      scope = shared;
    },
    async get(module) {
      if (module !== "./extension") throw new Error(`workroom has no module ${module}`);
      const loaded = await Promise.all(Object.values(MODULES).map(shared));
      const lab = Object.fromEntries(Object.keys(MODULES).map((name, i) => [name, loaded[i]]));
      return () => ({ __esModule: true, default: plugin(lab) });
    },
  };

  // Of several versions the one in use: tokens of another would be strangers.
  async function shared(name) {
    const versions = Object.values(scope[name] || {});
    const chosen = versions.find((version) => version.loaded) || versions[0];
    if (!chosen) throw new Error(`JupyterLab shares no ${name}`);
    return (await chosen.get())();
  }

  function plugin(lab) {
    return {
      id: "workroom:launcher",
      description: "Workroom's tiles, panels and links.",
      autoStart: true,
      optional: [
        lab.launcher.ILauncher,
        lab.apputils.ICommandPalette,
        lab.application.ILayoutRestorer,
        lab.application.IRouter,
      ],
      activate(app, launcher, palette, restorer, router) {
        followLink(app, router, lab.coreutils.PageConfig.getOption("treePath"));
        const offered = JSON.parse(lab.coreutils.PageConfig.getOption("workroom") || "{}");
        if (offered.ssh) {
          const open = () => sshPanel(lab, offered.ssh);
          addPanel(lab, app, restorer, { id: "ssh", label: "SSH", icon: KEY, open });
        }
        if (offered.examples) {
          const open = () => examplesPanel(lab, app);
          const label = "Data API examples";
          addPanel(lab, app, restorer, { id: "examples", label, icon: BOOK, open });
        }
        if (offered.rstudio) addRStudio(lab, app);
        if (launcher) fillLauncher(app, launcher);
        for (const command of app.commands.listCommands()) {
          if (command.startsWith("workroom:")) palette?.addItem({ command, category: SECTION });
        }
      },
    };
  }

  // -- the link ------------------------------------------------------------------------

  function followLink(app, router, treePath) {
    if (new URLSearchParams(location.search).get("workroom") !== "terminal") return;
    // Not before the page is restored: where this workspace is open in another tab, JupyterLab
    // first goes to a new workspace, and the parameter must come along.
    const opened = treePath ? fileOpened(app) : undefined;
    app.restored.then(async () => {
      dropParameter();
      // Going back, or a reset of the workspace, would bring it in again.
      router?.routed.connect(dropParameter);
      await opened;
      if (app.commands.hasCommand(TERMINAL)) await app.commands.execute(TERMINAL);
    });
  }

  // The file of `lab/tree/…` would else come to the front after the terminal.
  function fileOpened(app) {
    return new Promise((resolve) => {
      setTimeout(resolve, FILE_WITHIN);
      app.commands.commandExecuted.connect((_, { id, result }) => {
        if (id === "filebrowser:open-path") result.then(resolve, resolve);
      });
    });
  }

  function dropParameter() {
    const given = location.search.slice(1).split("&");
    const kept = given.filter((part) => part !== "workroom=terminal");
    if (kept.length === given.length) return;
    const search = kept.length ? `?${kept.join("&")}` : "";
    history.replaceState(history.state, "", location.pathname + search + location.hash);
  }

  // -- tiles and commands --------------------------------------------------------------

  function fillLauncher(app, launcher) {
    let rank = 2;
    for (const command of ["workroom:ssh", "workroom:examples"]) {
      if (!app.commands.hasCommand(command)) continue;
      launcher.add({ command, category: SECTION, rank: rank++, categoryRank: BEHIND_NOTEBOOKS });
    }
    // JupyterLab's own tile for a terminal moves here, so that there is one. When the application
    // has started, every plugin has added its tiles.
    app.started.then(() => {
      for (const item of launcher.items()) {
        if (item.command !== TERMINAL) continue;
        Object.assign(item, { category: SECTION, rank: 1, categoryRank: BEHIND_NOTEBOOKS });
        launcher.stateChanged?.emit(undefined);
      }
    });
  }

  function addRStudio(lab, app) {
    app.commands.addCommand("workroom:rstudio", {
      label: "RStudio in a new tab",
      execute: () => {
        window.open(`${lab.coreutils.PageConfig.getBaseUrl()}rstudio/`, "_blank", "noopener");
      },
    });
  }

  // A command that opens a panel once, also after the page is loaded anew.
  function addPanel(lab, app, restorer, { id, label, icon, open }) {
    const command = `workroom:${id}`;
    const image = new lab.icons.LabIcon({ name: command, svgstr: icon });
    const tracker = new lab.apputils.WidgetTracker({ namespace: `workroom-${id}` });
    app.commands.addCommand(command, {
      label,
      icon: image,
      execute: () => {
        const there = tracker.currentWidget;
        if (there) return void app.shell.activateById(there.id);
        const content = new lab.widgets.Widget({ node: open() });
        const widget = new lab.apputils.MainAreaWidget({ content });
        widget.id = `workroom-${id}`;
        Object.assign(widget.title, { label, icon: image, closable: true });
        app.shell.add(widget, "main");
        tracker.add(widget);
        app.shell.activateById(widget.id);
        return widget;
      },
    });
    restorer?.restore(tracker, { command, name: () => id });
  }

  // -- panels --------------------------------------------------------------------------

  function sshPanel(lab, lines) {
    const option = (name) => lab.coreutils.PageConfig.getOption(name);
    const keys = link(`${option("hubHost")}${option("hubPrefix") || "/hub/"}account/ssh`, "SSH page");
    const panel = newPanel("SSH into this server");
    panel.append(
      element("p", {}, "Register your public key once, on the ", keys, " of your account."),
      ...lines.map(sshLine),
    );
    return panel;
  }

  function sshLine({ id, title, text, link: address }) {
    const shown = element("pre", { tabIndex: 0 }, text);
    shown.setAttribute("aria-label", title);
    const said = element("span", { className: "workroom-said" });
    said.setAttribute("role", "status");
    const button = element("button", { type: "button", className: "jp-Button jp-mod-styled" }, "Copy");
    button.setAttribute("aria-label", `Copy: ${title}`);
    button.addEventListener("click", async () => {
      said.textContent = (await copy(shown)) ? "Copied" : "Selected: copy it with the keyboard";
    });
    const row = element("div", { className: "workroom-row" }, shown, button, said);
    const section = element("section", {}, element("h2", {}, title), row);
    section.dataset.line = id;
    if (address) section.append(element("p", {}, link(address, "Open in Visual Studio Code")));
    return section;
  }

  // Over plain http browsers have no clipboard for pages; the older way works on a selection.
  async function copy(shown) {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(shown);
      return document.execCommand("copy");
    }
  }

  function examplesPanel(lab, app) {
    const panel = newPanel("Data API examples");
    const list = element("ul", {});
    const said = element("p", { className: "workroom-said" });
    said.setAttribute("role", "status");
    panel.append(
      element("p", {}, "You work on a copy in your home; your own files are never overwritten."),
      list,
      said,
    );
    const tell = (work) => work().catch((error) => (said.textContent = error.message));
    const show = async () => {
      const examples = await ask(lab, "GET");
      list.replaceChildren(...examples.map(row));
    };
    const take = (name, fresh) => async () => {
      said.textContent = "";
      const { path } = await ask(lab, "POST", { name, fresh });
      await app.commands.execute("docmanager:open", { path });
      await show();
    };
    const row = ({ name, title, yours }) => {
      const button = (text, fresh) => {
        const made = element("button", { type: "button", className: "jp-Button jp-mod-styled" }, text);
        made.setAttribute("aria-label", `${text}: ${title}`);
        made.addEventListener("click", () => tell(take(name, fresh)));
        return made;
      };
      const buttons = yours
        ? [button("Open my copy", false), button("New copy", true)]
        : [button("Open a copy", false)];
      const item = element("li", { className: "workroom-row" }, element("span", {}, title), ...buttons);
      item.dataset.example = name;
      return item;
    };
    tell(show);
    return panel;
  }

  async function ask(lab, method, body) {
    const settings = lab.services.ServerConnection.makeSettings();
    const url = lab.coreutils.URLExt.join(settings.baseUrl, "api/workroom/examples");
    const options = { method, ...(body && { body: JSON.stringify(body) }) };
    const answer = await lab.services.ServerConnection.makeRequest(url, options, settings);
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.message || `The server answered ${answer.status}.`);
    return told;
  }

  // -- pieces --------------------------------------------------------------------------

  // Text is only ever set as text: names may hold markup.
  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function link(href, text) {
    return element("a", { href, target: "_blank", rel: "noopener" }, text);
  }

  function newPanel(title) {
    if (!document.getElementById("workroom-style")) {
      document.head.append(element("style", { id: "workroom-style" }, STYLE));
    }
    return element("div", { className: "workroom-panel" }, element("h1", {}, title));
  }

  const STYLE = `
    .workroom-panel { overflow: auto; padding: 24px 32px; background: var(--jp-layout-color0);
      color: var(--jp-ui-font-color0); font-size: var(--jp-ui-font-size2); line-height: 1.5; }
    .workroom-panel > * { max-width: 52rem; }
    .workroom-panel h1 { margin: 0 0 8px; font-size: 1.6em; font-weight: 600; }
    .workroom-panel h2 { margin: 20px 0 6px; font-size: 1em; font-weight: 600; }
    .workroom-panel p { margin: 6px 0; }
    .workroom-panel a { color: var(--jp-content-link-color); text-decoration: underline; }
    .workroom-panel ul { padding: 0; }
    .workroom-panel li > span { flex: 1 1 16rem; }
    .workroom-row { display: flex; flex-wrap: wrap; gap: 8px; align-items: flex-start;
      margin-bottom: 8px; }
    .workroom-row pre { flex: 1 1 20rem; min-width: 0; margin: 0; padding: 8px 12px; overflow: auto;
      border: 1px solid var(--jp-border-color2); border-radius: 4px; user-select: text;
      background: var(--jp-layout-color2); color: var(--jp-content-font-color1);
      font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size); }
    .workroom-said { color: var(--jp-ui-font-color1); }
    .workroom-row .workroom-said { flex-basis: 100%; }
    .workroom-panel :focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 2px; }
  `;

  const drawing = (paths) =>
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">` +
    `<g class="jp-icon3" fill="#616161">${paths}</g></svg>`;
  const KEY = drawing(
    '<path d="M12.65 10a6 6 0 1 0 0 4H17v4h4v-4h2v-4zM7 14a2 2 0 1 1 0-4 2 2 0 0 1 0 4z"/>',
  );
  const BOOK = drawing(
    '<path d="M6 2a2 2 0 0 0-2 2v16a2 2 0 0 0 2 2h14V2zm1 2h3v6l1.5-1.200L13 10V4h5v12H7zm0 14h11v2H7z"/>',
  );
})();
