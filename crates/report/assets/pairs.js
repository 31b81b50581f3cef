/* Pages through the preference pairs. Without it all pairs are listed. */
(() => {
  const bar = document.getElementById("pairs-pager");
  if (!bar) return;
  const section = document.getElementById("pairs");
  const all = [...section.querySelectorAll("article.pair")];
  const filters = [...section.querySelectorAll("select[data-field]")];
  let shown = all;
  const turn = pager(bar, 1, (from) => {
    all.forEach((pair) => pair.classList.add("away"));
    shown[from]?.classList.remove("away");
  });
  section.addEventListener("change", () => {
    const fits = (pair) => filters.every((filter) => ["", pair.dataset[filter.dataset.field]].includes(filter.value));
    shown = all.filter(fits);
    turn.start(shown.length);
  });
  /* The keys work only while pairs are visible, and nothing else is using them. */
  function visible() {
    const place = section.getBoundingClientRect();
    return place.top < window.innerHeight && place.bottom > 0;
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("select, input, textarea, [role=grid], .scroll") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!visible()) return;
    if (event.key === "ArrowLeft") turn.step(-1);
    if (event.key === "ArrowRight") turn.step(1);
  });
  section.querySelector(".filters").hidden = false;
  turn.start(all.length);
})();
