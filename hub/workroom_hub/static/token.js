// API tokens: make one, show it once, revoke.
"use strict";

(() => {
  const { api, show, page } = Workroom;
  const tokens = `users/${encodeURIComponent(page.user)}/tokens`;
  const value = (id) => document.getElementById(id).value.trim();
  const problem = document.getElementById("token-problem");

  document.getElementById("request-token-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = {
      note: value("token-note") || "Made on the token page",
      expires_in: Number.parseInt(value("token-expiration-seconds"), 10) || null,
    };
    const scopes = value("token-scopes").split(/[\s,]+/).filter(Boolean);
    if (scopes.length) wanted.scopes = scopes;
    show(problem, "");
    document.getElementById("token-area").hidden = true; // the last one's, which is not this one's
    try {
      const made = await api("POST", tokens, wanted);
      document.getElementById("token-result").textContent = made.token;
      document.getElementById("token-area").hidden = false;
    } catch (error) {
      show(problem, error.message);
    }
  });

  for (const button of document.querySelectorAll("[data-revoke]")) {
    button.addEventListener("click", async () => {
      const row = button.closest("tr");
      button.disabled = true;
      show(problem, "");
      try {
        await api("DELETE", `${tokens}/${encodeURIComponent(row.dataset.token)}`);
        row.remove();
      } catch (error) {
        button.disabled = false;
        show(problem, error.message);
      }
    });
  }
})();
