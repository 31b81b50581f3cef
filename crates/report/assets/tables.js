/* Tables: sorting by a column, and copies in other formats. */
(() => {
  const value = (cell) => {
    if (!cell) return null;
    const raw = cell.dataset.v ?? cell.textContent.trim().replace(/\u2009/g, "").replace("\u2212", "-");
    const number = Number.parseFloat(raw);
    return Number.isNaN(number) ? null : number;
  };
  const own = (table) => [...table.tBodies].map((body) => [...body.rows].filter((row) => !row.classList.contains("group")));

  function sort(table, column, ascending) {
    own(table).forEach((rows, index) => {
      const numeric = rows.some((row) => value(row.cells[column]) !== null) && column > 0;
      const key = numeric ? (row) => value(row.cells[column]) : (row) => row.cells[column].textContent;
      rows.sort((a, b) => {
        const [one, other] = [key(a), key(b)];
        /* Cells without a value come last in either direction. */
        if (one === null || other === null) return (one === null) - (other === null);
        const order = numeric ? one - other : one.localeCompare(other);
        return ascending ? order : -order;
      });
      table.tBodies[index].append(...rows);
    });
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    own(table).flat().forEach((row, index) => { row.dataset.row = index; });
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const ascending = before ? before === "descending" : column === 0;
        [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending);
      });
    });
  });

  async function copy(text, place) {
    try {
      await navigator.clipboard.writeText(text);
      place.textContent = "copied";
    } catch {
      /* A page from a file may not reach the clipboard everywhere: then the text is there to be copied by hand. */
      const area = document.createElement("textarea");
      area.value = text;
      area.readOnly = true;
      area.rows = Math.min(12, text.split("\n").length);
      place.replaceChildren(area);
      area.focus();
      area.select();
    }
  }

  document.querySelectorAll("div.table").forEach((box) => {
    const table = box.querySelector("table");
    const copies = JSON.parse(box.querySelector("script").textContent);
    const tools = box.querySelector(".tools");
    tools.hidden = false;
    tools.addEventListener("click", (event) => {
      const format = event.target.dataset?.format;
      if (!format) return;
      const [head, rows, foot] = copies[format];
      const order = own(table).flat().map((row) => Number(row.dataset.row));
      const sorted = order.length === rows.length ? order.map((index) => rows[index]) : rows;
      copy(head + sorted.join("") + foot, tools.querySelector(".copied"));
    });
  });

  /* A table is a stop of the keyboard only where it can be scrolled. */
  const scrolls = [...document.querySelectorAll(".scroll")];
  const stops = () => scrolls.forEach((box) => { box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1; });
  window.addEventListener("resize", stops);
  stops();
})();
