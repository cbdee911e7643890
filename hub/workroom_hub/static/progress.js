// The progress page: draws whatever stages the spawner sends, counts the seconds between
// events, survives lost connections and reloads, and goes on by itself when the server is up.
"use strict";

(() => {
  const { api, serverPath, show, page } = Workroom;
  const box = document.getElementById("progress");
  const bar = document.getElementById("progress-bar");
  const byId = (id) => document.getElementById(`progress-${id}`);
  const WORDS = { waiting: "waiting", active: "under way", done: "done", failed: "failed" };

  let source = null;
  let over = false;
  let latest = null; // the newest event with stages, and when it came
  const logged = new Set();

  function seconds(value) {
    return value < 10 ? `${value.toFixed(1)} s`
      : value < 60 ? `${Math.floor(value)} s`
      : `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  }

  function fill(percent) {
    const value = Math.max(0, Math.min(100, Math.round(percent)));
    bar.setAttribute("aria-valuenow", String(value));
    bar.firstElementChild.style.width = `${value}%`;
  }

  function drawStages(stages) {
    const list = byId("stages");
    const rows = [...list.children];
    stages.forEach((stage, index) => {
      let row = rows[index];
      if (!row || row.dataset.id !== stage.id) {
        row = newRow(stage);
        list.insertBefore(row, list.children[index] ?? null);
      }
      drawRow(row, stage);
    });
    while (list.children.length > stages.length) list.lastElementChild.remove();
  }

  function newRow(stage) {
    const row = document.createElement("li");
    row.dataset.id = stage.id;
    for (const part of ["mark", "name", "time"]) {
      const span = document.createElement("span");
      span.className = part;
      row.append(span);
    }
    return row;
  }

  function drawRow(row, stage) {
    const [mark, name, time] = row.children;
    if (row.dataset.state !== stage.state) {
      row.dataset.state = stage.state;
      row.className = `stage ${stage.state}`;
      const symbol = document.getElementById(`mark-${stage.state}`)?.content.cloneNode(true);
      if (symbol) mark.replaceChildren(symbol);
      else if (stage.state === "active") mark.innerHTML = '<span class="spinner"></span>';
      else mark.replaceChildren();
      name.textContent = stage.title;
      const state = document.createElement("span");
      state.className = "sr-only";
      state.textContent = ` (${WORDS[stage.state] ?? stage.state})`;
      name.append(state);
    }
    time.textContent = typeof stage.seconds === "number" ? seconds(stage.seconds) : "";
  }

  /** Between two events the clock goes on here. */
  function tick() {
    if (over || !latest) return;
    const since = (performance.now() - latest.at) / 1000;
    byId("elapsed").textContent = seconds(latest.event.elapsed + since);
    latest.event.stages.forEach((stage, index) => {
      if (stage.state !== "active" || typeof stage.seconds !== "number") return;
      const row = byId("stages").children[index];
      if (row) row.lastElementChild.textContent = seconds(stage.seconds + since);
    });
  }

  function log(event) {
    const text = event.message;
    if (!text || logged.has(text)) return; // a new connection tells the story again
    logged.add(text);
    const line = document.createElement("li");
    const when = typeof event.elapsed === "number" ? `${event.elapsed.toFixed(1)} s  ` : "";
    line.textContent = when + text;
    byId("log").append(line);
    line.scrollIntoView({ block: "nearest" });
  }

  function onEvent(event) {
    byId("lost").hidden = true;
    if (event.failed) return fail(event.message ?? "");
    if (event.ready) return ready();
    // JupyterHub opens every stream with its own "Server requested" at 0.
    if (!event.stages && latest) return undefined;
    if (event.progress !== undefined) fill(event.progress);
    if (event.message) {
      const line = byId("message");
      if (line.textContent !== event.message) line.textContent = event.message;
    }
    if (event.stages) {
      latest = { event, at: performance.now() };
      drawStages(event.stages);
      tick();
      log(event);
    }
    return undefined;
  }

  function finish() {
    tick();
    over = true;
    source?.close();
    document.getElementById("cancel").hidden = true;
  }

  function ready() {
    finish();
    const stages = latest?.event.stages ?? [];
    // JupyterHub 6.1 says "ready" of a start that was cancelled elsewhere, too. If the last
    // stage was never reached, give the hub time to find out before asking where to go.
    if (stages.at(-1)?.state === "waiting") {
      byId("message").textContent = "One moment…";
      setTimeout(() => window.location.reload(), 2500);
      return;
    }
    box.classList.add("done");
    fill(100);
    byId("message").textContent = "Ready. Opening it…";
    drawStages(stages.map((stage) => ({ ...stage, state: "done" })));
    document.title = document.title.replace("Starting…", "Ready");
    // The hub sends this address on to the server, or to where the person wanted to go.
    window.location.reload();
  }

  /** Keep the sentence and drop what the hub puts in front of it. */
  function sentence(message) {
    return message
      .replace(/^Spawn failed: /, "")
      .replace(/^(HTTP )?\d{3}:? \w*(Exception|Error|Problem|\w+)\(reason=[^)]*\): /, "")
      .replace(/^(None|)$/, "Something went wrong on our side. Try again; if it fails again, tell your platform engineer.");
  }

  function fail(message) {
    finish();
    const cancelled = message === "Spawn cancelled";
    box.classList.toggle("failed", !cancelled);
    byId("title").textContent = cancelled ? "Start cancelled" : "Your server could not be started";
    byId("hint").textContent = "Your files are kept.";
    byId("message").textContent = cancelled ? "Cancelled" : "Failed";
    if (latest) {
      drawStages(latest.event.stages.map((stage) => (
        stage.state === "active" ? { ...stage, state: cancelled ? "waiting" : "failed" } : stage
      )));
    }
    if (!cancelled) {
      const reason = sentence(message);
      byId("reason").textContent = reason;
      byId("failure").hidden = false;
      // Open where it tells more than the page: what is neither the reason nor a stage's title.
      const said = [reason, ...(latest?.event.stages ?? []).map((stage) => stage.title)];
      byId("details").open = [...logged].some((text) => !said.some((known) => text.startsWith(known)));
    }
    document.title = document.title.replace("Starting…", cancelled ? "Cancelled" : "Failed");
    // Another try ends where this one was to end; the hub looks at the address before it goes there.
    const next = new URLSearchParams(window.location.search).get("next");
    if (next) document.getElementById("choose-again").search = new URLSearchParams({ next });
    for (const element of document.querySelectorAll("[data-when-failed]")) element.hidden = false;
  }

  /** The stream ended without a word: ask for this page until the hub answers, then show it anew. */
  function lost() {
    if (over) return;
    source.close();
    byId("lost").hidden = false;
    const ask = async () => {
      if (over) return;
      try {
        const answer = await fetch(window.location.href, { redirect: "manual" });
        const fromHub = answer.type === "opaqueredirect" || answer.headers.has("X-JupyterHub-Version");
        if (fromHub) {
          window.location.reload();
          return;
        }
      } catch {
        // Not back yet.
      }
      setTimeout(ask, 2000);
    };
    setTimeout(ask, 1000);
  }

  function listen() {
    source = new EventSource(box.dataset.url);
    source.onmessage = (message) => onEvent(JSON.parse(message.data));
    source.onerror = () => {
      if (over) return;
      // CONNECTING: the browser tries again by itself. CLOSED: it has given up.
      if (source.readyState === EventSource.CLOSED) lost();
      else byId("lost").hidden = false;
    };
    source.onopen = () => { byId("lost").hidden = true; };
  }

  document.getElementById("cancel").addEventListener("click", async (event) => {
    const button = event.currentTarget;
    const problem = document.getElementById("cancel-problem");
    button.disabled = true;
    button.textContent = "Cancelling…";
    show(problem, "");
    over = true;
    source.close(); // the stream of a cancelled start ends with "ready"
    try {
      await api("DELETE", serverPath(box.dataset.owner, box.dataset.server));
      window.location = box.dataset.home;
    } catch (error) {
      button.disabled = false;
      button.textContent = "Cancel the start";
      show(problem, error.message);
      over = false;
      listen();
    }
  });

  // Leaving closes the stream, so that the hub does not keep talking to nobody.
  window.addEventListener("pagehide", () => { over = true; source?.close(); });
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  setInterval(tick, 100);
  listen();
})();
