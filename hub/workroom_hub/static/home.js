// The list of servers: stop, cancel, remove, add, and notice when something changes.
"use strict";

(() => {
  const { api, serverPath, show, page } = Workroom;
  const cards = [...document.querySelectorAll("[data-server]")];

  const nameOf = (card) => card.dataset.server;

  async function stop(card, button) {
    const buttons = card.querySelectorAll("button, .actions a");
    const label = button.innerHTML;
    button.textContent = "Stopping…";
    for (const each of buttons) each.setAttribute("aria-disabled", "true");
    button.disabled = true;
    show(card.querySelector("[data-problem]"), "");
    try {
      await api("DELETE", serverPath(page.user, nameOf(card)));
      watch();
    } catch (error) {
      button.innerHTML = label;
      button.disabled = false;
      for (const each of buttons) each.removeAttribute("aria-disabled");
      problem(card, error.message);
    }
  }

  async function remove(card) {
    const dialog = document.getElementById("confirm");
    dialog.querySelector("h2").textContent = `Remove “${card.querySelector("h2").textContent}”?`;
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "yes") return;
    try {
      await api("DELETE", serverPath(page.user, nameOf(card)), { remove: true });
      window.location.reload();
    } catch (error) {
      problem(card, error.message);
    }
  }

  function problem(card, sentence) {
    const box = card.querySelector("[data-problem]");
    box.className = "note bad";
    show(box, sentence);
  }

  /** The hub's word for the state of each server. */
  async function states() {
    const user = await api("GET", `users/${encodeURIComponent(page.user)}`);
    const found = {};
    for (const [name, server] of Object.entries(user.servers ?? {})) {
      found[name] = server.pending === "spawn" ? "starting"
        : server.pending === "stop" ? "stopping"
        : server.ready ? "running" : "stopped";
    }
    return found;
  }

  /** Look every second and a half, and draw the page anew once a state differs from the one shown. */
  let watching = false;
  function watch() {
    if (watching) return;
    watching = true;
    const look = async () => {
      try {
        const now = await states();
        if (cards.some((card) => (now[nameOf(card)] ?? "stopped") !== card.dataset.state)) {
          window.location.reload();
          return;
        }
      } catch {
        // The hub may be restarting; the next look tells.
      }
      setTimeout(look, 1500);
    };
    setTimeout(look, 700);
  }

  /** A name for addresses, by JupyterHub's rule: letters a-z, digits, hyphens, a letter first. */
  function slug(name) {
    const plain = name
      .normalize("NFKD")
      .replace(/\p{M}/gu, "")
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/-+/g, "-")
      .replace(/^-+/, "");
    const safe = /^[a-z]/.test(plain) ? plain : `x-${plain}`;
    return safe.slice(0, 30).replace(/-+$/, "");
  }

  async function add(event) {
    event.preventDefault();
    const field = document.getElementById("server-name");
    const error = document.getElementById("server-name-error");
    const button = event.target.querySelector("button");
    const name = field.value.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]+/gu, "").trim();
    const refuse = (sentence) => {
      show(error, sentence);
      field.setAttribute("aria-invalid", "true");
      field.focus();
      button.disabled = false;
    };
    if (!name) return refuse("Give the server a name.");
    button.disabled = true;
    const server = slug(name);
    try {
      await api("PUT", serverPath(page.user, server), { display_name: name });
    } catch (problem) {
      return refuse(problem.status === 409 ? `You already have a server “${server}”.` : problem.message);
    }
    const path = `${encodeURIComponent(page.user)}/${server}`;
    window.location = `${page.baseUrl}spawn/${path}`;
  }

  for (const card of cards) {
    card.querySelector("[data-stop]")?.addEventListener("click", (event) => stop(card, event.currentTarget));
    card.querySelector("[data-remove]")?.addEventListener("click", () => remove(card));
  }
  document.getElementById("add-server")?.addEventListener("submit", add);
  if (cards.some((card) => card.dataset.state === "starting" || card.dataset.state === "stopping")) watch();
  // After the browser's Back button the list may be old.
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
})();
