// Images that the chosen size does not offer cannot be chosen. The hub checks it again.
"use strict";

(() => {
  const form = document.getElementById("spawn_form");
  const images = [...form.querySelectorAll("input[type=radio][name=image]")];

  function fit() {
    const profile = form.querySelector("input[name=profile]:checked");
    if (!profile || !images.length) return;
    const offered = profile.dataset.images.split(" ").filter(Boolean);
    for (const image of images) {
      image.disabled = offered.length > 0 && !offered.includes(image.value);
      image.closest(".choice").querySelector("[data-unfit]").hidden = !image.disabled;
    }
    const chosen = images.find((image) => image.checked && !image.disabled);
    if (!chosen) {
      const first = images.find((image) => !image.disabled);
      if (first) first.checked = true;
    }
  }

  form.addEventListener("change", (event) => event.target.name === "profile" && fit());
  fit();
})();
