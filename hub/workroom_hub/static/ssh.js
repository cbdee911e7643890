// SSH keys: a chosen file fills the box, a private key stays where it is, copy buttons.
"use strict";

(() => {
  const { show } = Workroom;
  const form = document.getElementById("add-key");
  const box = document.getElementById("key");
  const file = document.getElementById("file");
  const error = document.getElementById("key-error");
  const LARGEST = 16384;
  const PRIVATE = /PRIVATE KEY|PuTTY-User-Key-File|b3BlbnNzaC1rZXktdjE/i;
  const NEVER = "This is your private key: it must never leave your machine. "
    + "Choose the file that ends in .pub. Nothing was sent.";

  function refuse(sentence) {
    show(error, sentence);
    box.setAttribute("aria-invalid", "true");
    box.focus();
  }

  function accept() {
    show(error, "");
    box.removeAttribute("aria-invalid");
  }

  async function fill() {
    const [chosen] = file.files;
    if (!chosen) return;
    accept();
    const text = chosen.size > LARGEST ? "" : await chosen.text();
    file.value = ""; // what is sent is what the box shows
    if (PRIVATE.test(text)) return refuse(NEVER);
    if (!text.trim() || text.includes("\u0000") || text.includes("\ufffd")) {
      return refuse(`“${chosen.name}” is not a public key. Choose the file that ends in .pub.`);
    }
    box.value = text.trim();
    document.getElementById("name").focus();
    say(`${chosen.name} is in the box`);
  }

  function guard(event) {
    if (event.target !== form || !PRIVATE.test(box.value)) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // or the button would turn
    box.value = "";
    refuse(NEVER);
  }

  function say(text) {
    document.getElementById("said").textContent = text;
  }

  async function copy(button) {
    const text = button.parentElement.querySelector("pre");
    const label = button.querySelector("[data-label]");
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      // Over plain http browsers have no clipboard for pages: the text is at least selected.
      window.getSelection().selectAllChildren(text);
      said = "Press Ctrl+C";
    }
    label.textContent = said;
    say(said);
    setTimeout(() => {
      label.textContent = "Copy";
      say("");
    }, 2500);
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
  for (const details of document.querySelectorAll("details.rename")) {
    details.addEventListener("toggle", () => details.open && details.querySelector("input[type=text]").select());
  }
  file?.addEventListener("change", fill);
  box?.addEventListener("input", accept);
  document.addEventListener("submit", guard, true);

  if (document.getElementById("done")) {
    document.getElementById("done").focus();
    // Said once: not again when the page is reloaded.
    window.history.replaceState(null, "", window.location.pathname);
  }
})();
