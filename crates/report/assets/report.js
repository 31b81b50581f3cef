"use strict";
/* Pages through the preference pairs. Without it all pairs are listed. */
(() => {
  const bar = document.querySelector(".pager");
  const all = [...document.querySelectorAll("article.pair")];
  const place = bar.querySelector(".place");
  const section = bar.parentElement;
  const filters = [...bar.querySelectorAll("select")];
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
  bar.addEventListener("change", () => {
    const fits = (pair) => filters.every((filter) => ["", pair.dataset[filter.dataset.field]].includes(filter.value));
    shown = all.filter(fits);
    index = 0;
    show();
  });
  /* The keys work only while pairs are visible. */
  function visible() {
    const place = section.getBoundingClientRect();
    return place.top < window.innerHeight && place.bottom > 0;
  }
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!visible()) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  bar.hidden = false;
  show();
})();
