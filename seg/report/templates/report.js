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

// What a cell of the confusion matrix says in full: for the mouse, for fingers, and by the arrow keys from one tab stop.
const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

for (const matrix of document.querySelectorAll("table.matrix")) {
  const readout = matrix.closest(".table").querySelector(".readout");
  const rows = Array.from(matrix.tBodies[0].rows, (row) => Array.from(row.querySelectorAll("td[title]")));
  const filled = rows.filter((row) => row.length);
  let chosen = null;
  const choose = (cell) => {
    chosen?.classList.remove("chosen");
    (chosen ?? filled[0][0]).tabIndex = -1;
    chosen = cell;
    cell.classList.add("chosen");
    cell.tabIndex = 0;
    readout.textContent = cell.title;
  };
  matrix.setAttribute("role", "grid");
  for (const cell of filled.flat()) cell.tabIndex = -1;
  if (filled.length) filled[0][0].tabIndex = 0;
  const at = (event) => event.target.closest("td[title]");
  matrix.addEventListener("pointerover", (event) => {
    if (at(event)) readout.textContent = at(event).title;
  });
  matrix.addEventListener("pointerleave", () => {
    readout.textContent = chosen ? chosen.title : "";
  });
  matrix.addEventListener("focusin", (event) => at(event) && choose(at(event)));
  matrix.addEventListener("click", (event) => {
    if (!at(event)) return;
    choose(at(event));
    // What is moved away from below a mouse would be pointed at no more.
    if (event.pointerType === "touch") at(event).scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  matrix.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !at(event)) return;
    event.preventDefault();
    const row = filled.findIndex((cells) => cells.includes(at(event)));
    const next = filled[row + step[0]]?.[filled[row].indexOf(at(event)) + step[1]];
    if (next) next.focus();
  });
}

// Where a table or the list of sections goes on, it fades out.
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => fade(entry.target)));

function fade(box) {
  box.classList.toggle("more-left", box.scrollLeft > 1);
  box.classList.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  box.classList.toggle("more-below", box.scrollTop + box.clientHeight < box.scrollHeight - 1);
}

for (const box of document.querySelectorAll(".scroll, nav ul")) {
  box.addEventListener("scroll", () => fade(box), { passive: true });
  sizes.observe(box);
}

// The link of the section that is read is marked, and in sight.
const links = new Map(Array.from(document.querySelectorAll("nav a"), (link) => [link.hash.slice(1), link]));
const inSight = new Set();
const reading = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) inSight[isIntersecting ? "add" : "delete"](target.id);
    const first = Array.from(links.keys()).find((id) => inSight.has(id));
    if (first === undefined) return;
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const list = links.get(first).closest("ul");
    list.scrollLeft = links.get(first).offsetLeft - (list.clientWidth - links.get(first).offsetWidth) / 2;
  },
  { rootMargin: "-64px 0px -60% 0px" },
);
for (const id of links.keys()) reading.observe(document.getElementById(id));
