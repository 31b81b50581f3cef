"use strict";
// Leafs through the preference pairs. Without it all pairs are shown one below the other.
(() => {
  const bar = document.querySelector(".leaf");
  const all = [...document.querySelectorAll("article.pair")];
  const place = bar.querySelector(".place");
  const select = bar.querySelector("select");
  let shown = all;
  let index = 0;

  function show() {
    all.forEach((pair) => pair.classList.add("away"));
    if (shown.length > 0) shown[index].classList.remove("away");
    place.textContent = shown.length > 0 ? `${index + 1} of ${shown.length}` : "none";
  }

  function step(by) {
    if (shown.length === 0) return;
    index = (index + by + shown.length) % shown.length;
    show();
  }

  bar.addEventListener("click", (event) => {
    const by = event.target.dataset?.step;
    if (by !== undefined) step(Number(by));
  });
  select.addEventListener("change", () => {
    shown = all.filter((pair) => select.value === "" || pair.dataset.kind === select.value);
    index = 0;
    show();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  bar.hidden = false;
  show();
})();
