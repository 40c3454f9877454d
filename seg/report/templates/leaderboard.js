
// Tracks are shown if they are what every list asks for.
for (const filters of document.querySelectorAll(".filters")) {
  const lists = Array.from(filters.querySelectorAll("select"));
  const tracks = Array.from(document.querySelectorAll("#entries .track"));
  const told = filters.querySelector("output");
  const apply = () => {
    for (const track of tracks) {
      track.hidden = lists.some((list) => list.value && track.getAttribute(`data-of-${list.dataset.position}`) !== list.value);
    }
    const shown = tracks.filter((track) => !track.hidden).length;
    told.textContent = shown < tracks.length ? `${shown} of ${tracks.length} tracks` : "";
  };
  filters.addEventListener("change", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
