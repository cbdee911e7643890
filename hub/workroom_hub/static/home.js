// The list of servers while it is open: figures, and cards that change with their servers.
"use strict";

(() => {
  const { show, sayTimes } = Workroom;
  const list = document.getElementById("servers");
  const EVERY = 5000;
  const SOON = 1500;
  const SLOWEST = 60000;
  const GIB = 2 ** 30;
  const WORDS = { starting: "is starting", running: "is running", stopping: "is stopping", stopped: "is stopped" };

  const cards = () => [...list.querySelectorAll("[data-server]")];

  // --- figures ----------------------------------------------------------------

  /** Write only what differs, so that nothing is drawn or read out for nothing. */
  function write(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  }

  function fill(meter, share, now, text, most) {
    const bar = meter.querySelector(".used");
    bar.setAttribute("width", String(Math.round(Math.max(0, Math.min(1, share)) * 1000) / 10));
    bar.classList.toggle("most", most);
    meter.setAttribute("aria-valuenow", String(now));
    meter.setAttribute("aria-valuetext", text);
  }

  function figure(card, kind, used) {
    const tile = card.querySelector(`[data-figure=${kind}]`);
    if (!tile) return;
    const limit = Number(tile.dataset.limit);
    const number = tile.querySelector("[data-used]");
    if (typeof used !== "number") {
      write(number, "–");
      fill(tile.querySelector(".meter"), 0, 0, "not known now", false);
      return;
    }
    write(number, (kind === "memory" ? used / GIB : used).toFixed(2));
    const text = number.parentElement.textContent.replace(/\s+/g, " ").trim();
    fill(tile.querySelector(".meter"), used / limit, Math.min(used, limit), text, used / limit > 0.9);
  }

  function time(moment, kind) {
    const element = document.createElement("time");
    element.dateTime = moment;
    element.dataset[kind] = "";
    return element;
  }

  function put(place, moment, kind, before = "") {
    if (!place) return;
    const there = place.querySelector(`time[data-${kind}]`);
    if (there && place.firstChild.textContent === (before || there.textContent)) {
      if (there.dateTime !== moment) there.dateTime = moment;
    } else {
      place.replaceChildren(...(before ? [before] : []), time(moment, kind));
    }
  }

  function fresh(card, server) {
    figure(card, "cpu", server.figures?.cpu);
    figure(card, "memory", server.figures?.memory);
    if (server.last_activity) put(card.querySelector("[data-last]"), server.last_activity, "ago");
    const stops = card.querySelector("[data-stops]");
    if (!stops) return;
    write(card.querySelector("[data-idle]"), server.busy ? "Busy" : "When unused");
    if (server.busy) write(stops, server.busy);
    else if (server.stops) put(stops, server.stops, "clock", "stops at ");
    stops.title = stops.textContent;
  }

  function folder(home) {
    const box = document.getElementById("home-usage");
    if (!home) return;
    box.dataset.level = home.level;
    write(box.querySelector("[data-text]"), home.text);
    fill(box.querySelector(".meter"), home.share, Math.round(home.share * 100), home.text, home.level !== "ok");
    const warning = box.querySelector("[data-warning]");
    warning.classList.toggle("bad", home.level === "full");
    warning.classList.toggle("warn", home.level !== "full");
    write(warning.querySelector("[data-sentence]"), home.warning);
    if (warning.hidden === Boolean(home.warning)) warning.hidden = !home.warning;
  }

  // --- times ------------------------------------------------------------------

  function lasted(seconds) {
    if (seconds < 60) return "under a minute";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
  }

  function clocks() {
    const today = new Date().toDateString();
    for (const element of list.querySelectorAll("time[data-clock]")) {
      const moment = new Date(element.dateTime);
      const day = moment.toDateString() === today ? {} : { weekday: "short" };
      write(element, moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...day }));
      element.title = moment.toLocaleString();
    }
    for (const element of list.querySelectorAll("[data-up]")) {
      const seconds = (Date.now() - new Date(element.dataset.up)) / 1000;
      if (!Number.isNaN(seconds)) write(element, lasted(Math.max(0, seconds)));
    }
    sayTimes();
  }

  // --- states -----------------------------------------------------------------

  /** Somebody reads or answers something of this card: it is left alone until that is over. */
  function inUse(card) {
    return card.querySelector(":popover-open, details.menu[open]") !== null;
  }

  /** Where the keyboard is in a card, so that it is there again in the card drawn anew. */
  function keeper(card) {
    const at = card.contains(document.activeElement) ? document.activeElement.closest("[data-way], [data-stop], [data-remove], summary") : null;
    if (!at) return null;
    const key = ["way", "stop", "remove"].find((name) => name in at.dataset);
    if (!key) return at.matches("summary") ? "summary" : null;
    return key === "way" ? `[data-way="${at.dataset.way}"]` : `[data-${key}]`;
  }

  /** Take over the cards that differ from what the hub draws now. */
  async function redraw() {
    const answer = await fetch(list.dataset.home, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error("no page");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const drawn = [...page.querySelectorAll("#servers > [data-server]")];
    const old = cards();
    if (drawn.length !== old.length || drawn.some((card, i) => card.dataset.server !== old[i].dataset.server)) {
      window.location.reload();
      return;
    }
    drawn.forEach((card, index) => {
      if (card.dataset.state === old[index].dataset.state || inUse(old[index])) return;
      const focus = keeper(old[index]);
      old[index].replaceWith(document.adoptNode(card));
      if (focus) (card.querySelector(focus) ?? card.querySelector("[data-way]")).focus();
      write(document.getElementById("said"), `${card.querySelector("h2").textContent} ${WORDS[card.dataset.state]}.`);
    });
    revealCopy();
  }

  let wait = EVERY;
  let timer = null;
  let asking = false;

  async function look() {
    clearTimeout(timer);
    timer = null;
    if (document.hidden || asking) return;
    asking = true;
    try {
      const answer = await fetch(list.dataset.now, { headers: { "X-XSRFToken": Workroom.page.xsrf } });
      if (!answer.ok) throw new Error(String(answer.status));
      const now = await answer.json();
      const state = (card) => {
        const server = now.servers[card.dataset.server];
        return server ? server.state : "stopped";
      };
      if (cards().some((card) => state(card) !== card.dataset.state && !inUse(card))) await redraw();
      for (const card of cards()) {
        const server = now.servers[card.dataset.server];
        if (server && server.state === card.dataset.state) fresh(card, server);
      }
      folder(now.home);
      clocks();
      const moving = cards().some((card) => /ing$/.test(state(card)) && state(card) !== "running");
      wait = moving ? SOON : EVERY;
    } catch {
      // The hub may be restarting, or the person was signed out elsewhere: ask less and less often.
      wait = Math.min(Math.max(wait, EVERY) * 2, SLOWEST);
    } finally {
      asking = false;
      timer = setTimeout(look, wait);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });

  // --- buttons ----------------------------------------------------------------

  /** Each form is sent once; the button that was pressed says so. */
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once], [data-start]")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    const button = event.submitter;
    if (!button) return;
    button.setAttribute("aria-disabled", "true");
    const spinner = document.createElement("span");
    spinner.className = "spinner";
    (button.querySelector(".icon") ?? button.firstChild).before(spinner);
    button.querySelector(".icon")?.remove();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    // A menu has done its work once something in it is chosen.
    const menu = button.closest("details.menu");
    if (menu) menu.open = false;
    if ("copy" in button.dataset) copy(button);
  });

  async function copy(button) {
    const text = button.parentElement.querySelector("pre");
    const label = button.firstChild;
    try {
      await navigator.clipboard.writeText(text.textContent);
      label.textContent = "Copied";
    } catch {
      // Over plain http browsers have no clipboard for pages: the text is at least selected.
      window.getSelection().selectAllChildren(text);
      label.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 2500);
  }

  function revealCopy() {
    for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  }

  document.getElementById("server-name")?.addEventListener("input", (event) => {
    event.target.removeAttribute("aria-invalid");
    show(document.getElementById("server-name-error"), "");
  });

  // After the browser's Back button the list may be old.
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  revealCopy();
  clocks();
  look();
})();
