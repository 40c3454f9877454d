
// Entries are shown if they are what every list asks for.
for (const filters of document.querySelectorAll(".filters")) {
  const lists = Array.from(filters.querySelectorAll("select"));
  const rows = Array.from(document.querySelector("#entries table").tBodies[0].rows);
  const told = filters.querySelector("output");
  const apply = () => {
    for (const row of rows) {
      row.hidden = lists.some((list) => list.value && row.cells[Number(list.dataset.column)].dataset.sort !== list.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    told.textContent = shown < rows.length ? `${shown} of ${rows.length} entries` : "";
  };
  filters.addEventListener("change", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
