/* The grid of differences: one stop of the keyboard, arrow keys inside. */
(() => {
  document.querySelectorAll("table[role=grid]").forEach((grid) => {
    const lines = () => [...grid.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("[role=gridcell]")]).filter((row) => row.length > 0);
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    function go(cell) {
      grid.querySelectorAll("[tabindex='0']").forEach((other) => { other.tabIndex = -1; });
      cell.tabIndex = 0;
      cell.focus();
    }
    grid.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const rows = lines();
      const row = rows.findIndex((cells) => cells.includes(event.target));
      if (!step || row < 0) return;
      event.preventDefault();
      const next = rows[row + step[0]]?.[rows[row].indexOf(event.target) + step[1]];
      if (next) go(next);
    });
    grid.addEventListener("click", (event) => {
      const cell = event.target.closest("[role=gridcell]");
      if (cell) go(cell);
    });
  });
})();
