"use strict";

// Tables are sorted by the full-precision value of a column; what is undefined stays at the end either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    const numeric = heading.classList.contains("number");
    const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.sort]));
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      const sign = descending ? -1 : 1;
      const sorted = rows.slice().sort((one, other) => {
        const a = keys.get(one);
        const b = keys.get(other);
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
      });
      for (const each of headings) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...sorted);
    });
  });
}

// What a cell of the confusion matrix says in full, for fingers and for the keyboard as well as for the mouse.
for (const matrix of document.querySelectorAll("table.matrix")) {
  const readout = matrix.closest(".table").querySelector(".readout");
  const show = (event) => {
    const cell = event.target.closest("td[title]");
    if (cell) readout.textContent = cell.title;
  };
  matrix.addEventListener("pointerover", show);
  matrix.addEventListener("click", show);
}
