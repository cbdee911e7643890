// Everyone's servers: finds while one types, and looks again now and then.
"use strict";

(() => {
  const form = document.getElementById("find");
  const EVERY = 15000;
  const QUIET = 250;
  const SLOWEST = 120000;
  let wait = EVERY;
  let timer = null;
  let asked = 0;

  const inUse = () => document.querySelector(":popover-open") !== null
    || document.getElementById("found").contains(document.activeElement);

  function address() {
    const now = new URLSearchParams(new FormData(form));
    const shown = new URLSearchParams(window.location.search).get("show");
    if (shown) now.set("show", shown);
    return `${form.action}?${now}`;
  }

  /** Take over what the hub draws now, all but the form that is being typed in. */
  async function redraw(quietly) {
    const mine = ++asked;
    const answer = await fetch(address(), { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error("no page");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked || (quietly && inUse())) return;
    for (const part of ["#found", "main .head", "[aria-labelledby=by-size]"]) {
      const [old, drawn] = [document.querySelector(part), page.querySelector(part)];
      if (old && drawn) old.replaceWith(document.adoptNode(drawn));
    }
    Workroom.sayTimes();
  }

  async function look() {
    clearTimeout(timer);
    try {
      if (!document.hidden && !inUse()) await redraw(true);
      wait = EVERY;
    } catch {
      wait = Math.min(wait * 2, SLOWEST);
    }
    timer = setTimeout(look, wait);
  }

  function find() {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      try {
        await redraw(false);
        window.history.replaceState(null, "", address());
      } catch {
        // The button of the form is still there.
      }
      timer = setTimeout(look, EVERY);
    }, QUIET);
  }

  form.addEventListener("input", find);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  document.addEventListener("submit", (event) => {
    const once = event.target;
    if (!once.matches("[data-once]")) return;
    if (once.dataset.sent) event.preventDefault();
    once.dataset.sent = "yes";
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  timer = setTimeout(look, EVERY);
})();
