// The hub counts redirects in the address; a reload after the cause is gone must start at zero.
"use strict";

(() => {
  const address = new URL(window.location.href);
  if (!address.searchParams.has("redirects")) return;
  address.searchParams.delete("redirects");
  window.history.replaceState({}, "", address);
})();
