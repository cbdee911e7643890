// A link into a server that is not running keeps its #fragment, and may start it by itself.
"use strict";

(() => {
  const start = document.getElementById("start");
  if (start && window.location.hash) start.href += window.location.hash;
  const wait = document.getElementById("implicit-spawn");
  if (start && wait) {
    setTimeout(() => { window.location = start.href; }, 1000 * Number(wait.dataset.seconds));
  }
})();
