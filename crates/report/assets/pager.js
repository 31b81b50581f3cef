/* Turns the pages of a list: `draw(from, to)` shows items, `start(count)` begins anew. */
function pager(bar, size, draw) {
  const place = bar.querySelector(".place");
  let count = 0;
  let page = 0;
  const pages = () => Math.max(1, Math.ceil(count / size));
  function show() {
    const from = page * size;
    const to = Math.min(count, from + size);
    const shown = size === 1 || to - from === 1 ? `${to}` : `${from + 1} to ${to}`;
    place.textContent = count === 0 ? "none" : `${shown} of ${count}`;
    draw(from, to);
  }
  function step(by) {
    page = (page + by + pages()) % pages();
    show();
  }
  bar.addEventListener("click", (event) => {
    const by = event.target.dataset?.step;
    if (by !== undefined) step(Number(by));
  });
  return { step, start(number) { count = number; page = 0; bar.hidden = count === 0; show(); } };
}
