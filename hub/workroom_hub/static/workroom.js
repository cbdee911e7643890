// What every page shares: the hub's API, times in words, password fields, busy buttons.
"use strict";

const Workroom = (() => {
  const page = document.body?.dataset ?? {};

  /** Path of the API for a server of a user; "" is the default server. */
  function serverPath(user, server) {
    const owner = `users/${encodeURIComponent(user)}`;
    return server ? `${owner}/servers/${encodeURIComponent(server)}` : `${owner}/server`;
  }

  /** Call the hub's REST API. Resolves to its JSON (or null); rejects with a sentence for people. */
  async function api(method, path, body) {
    let answer;
    try {
      answer = await fetch(`${page.baseUrl}api/${path}`, {
        method,
        headers: { "Content-Type": "application/json", "X-XSRFToken": page.xsrf },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Error("The hub does not answer. Check your connection and try again.");
    }
    const text = await answer.text();
    let json = null;
    try {
      json = JSON.parse(text);
    } catch {
      // Some answers have no body.
    }
    if (answer.ok) return json;
    if (answer.status === 403) {
      throw new Error("This page is out of date, or you were signed out. Reload it and try again.");
    }
    const error = new Error(json?.message || `The hub refused (${answer.status}). Try again.`);
    error.status = answer.status;
    throw error;
  }

  /** Show `text` in an element that is hidden while there is none. */
  function show(element, text) {
    element.textContent = text;
    element.hidden = !text;
  }

  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];

  function ago(moment) {
    const seconds = (moment - Date.now()) / 1000;
    for (const [unit, size] of units) {
      if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
    }
    return "just now";
  }

  function sayTimes() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.valueOf())) continue;
      time.title = moment.toLocaleString();
      time.textContent = ago(moment);
    }
  }

  function revealButtons() {
    for (const button of document.querySelectorAll("[data-reveal]")) {
      const field = document.getElementById(button.dataset.reveal);
      button.hidden = false;
      button.addEventListener("click", () => {
        const shown = field.type === "password";
        field.type = shown ? "text" : "password";
        button.setAttribute("aria-pressed", String(shown));
        button.textContent = shown ? "Hide" : "Show";
      });
    }
  }

  /** A form is sent once: its button turns, and comes back when the page does. */
  function busyForms() {
    for (const form of document.querySelectorAll("form[data-busy]")) {
      const button = form.querySelector("button[type=submit]");
      const label = button.innerHTML;
      form.addEventListener("submit", (event) => {
        if (button.getAttribute("aria-disabled") === "true") {
          event.preventDefault();
          return;
        }
        button.setAttribute("aria-disabled", "true");
        button.textContent = form.dataset.busy;
        const spinner = document.createElement("span");
        spinner.className = "spinner";
        button.prepend(spinner);
      });
      window.addEventListener("pageshow", (event) => {
        if (!event.persisted) return;
        button.removeAttribute("aria-disabled");
        button.innerHTML = label;
      });
    }
  }

  function closeMenus() {
    document.addEventListener("click", (event) => {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        if (!menu.contains(event.target)) menu.open = false;
      }
    });
    document.addEventListener("keydown", (event) => {
      const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
      if (!menu) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  function warnOfPlainText() {
    const warning = document.getElementById("insecure-login-warning");
    // A secure context is https, or this machine itself.
    if (warning && !window.isSecureContext) warning.hidden = false;
  }

  sayTimes();
  setInterval(sayTimes, 30000);
  revealButtons();
  busyForms();
  closeMenus();
  warnOfPlainText();
  return { api, serverPath, show, sayTimes, page };
})();
