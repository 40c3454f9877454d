// The viewer: what is drawn, moved, compared and asked for.
(() => {
  const find = (id) => document.getElementById(id);
  const canvas = find("map");
  const context = canvas.getContext("2d");
  const frame = find("frame");
  const view = { x: place.width / 2, y: place.height / 2, scale: 1 };
  const layers = [...document.querySelectorAll("[data-layer]")].map((row) => {
    const [on, opacity] = [row.querySelector("[type=checkbox]"), row.querySelector("[type=range]")];
    const layer = { name: row.dataset.layer, on, opacity, shown: row.querySelector("output") };
    const update = () => {
      layer.shown.textContent = `${opacity.value} %`;
      draw();
    };
    on.addEventListener("change", update);
    opacity.addEventListener("input", update);
    return layer;
  });
  const swipe = { on: find("swipe"), left: find("left"), right: find("right"), border: find("border"), at: 0.5 };
  let marked = null;
  let waiting = false;

  // ------------------------------------------------------------------------------------------------ drawing

  const ratio = () => window.devicePixelRatio || 1;
  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const fitting = () => Math.min(size()[0] / place.width, size()[1] / place.height);

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  // The coarsest level whose pixels are not enlarged by more than half.
  function levelOf() {
    const shown = ([width]) => (view.scale * ratio() * place.width) / width;
    for (let level = tiles.levels.length - 1; level > 0; level--) if (shown(tiles.levels[level]) <= 1.5) return level;
    return 0;
  }

  const across = (x) => Math.round((x - view.x) * view.scale * ratio() + canvas.width / 2);
  const down = (y) => Math.round((y - view.y) * view.scale * ratio() + canvas.height / 2);

  // Where a tile lies on the canvas.
  function boxOf(level, column, row) {
    const [factorX, factorY] = [place.width / tiles.levels[level][0], place.height / tiles.levels[level][1]];
    const [width, height] = tiles.sizeOf(level, column, row);
    const [left, top] = [column * tiles.edge, row * tiles.edge];
    const [x, y] = [across(left * factorX), down(top * factorY)];
    return [x, y, across((left + width) * factorX) - x, down((top + height) * factorY) - y];
  }

  function seen(level) {
    const [width, height] = tiles.levels[level];
    const [spanX, spanY] = [(tiles.edge * place.width) / width, (tiles.edge * place.height) / height];
    const [halfX, halfY] = size().map((edge) => edge / 2 / view.scale);
    const range = (from, to, count) => {
      const [low, high] = [Math.max(0, Math.floor(from)), Math.min(count - 1, Math.floor(to))];
      return Array.from({ length: Math.max(0, high - low + 1) }, (_, n) => low + n);
    };
    const columns = range((view.x - halfX) / spanX, (view.x + halfX) / spanX, Math.ceil(width / tiles.edge));
    const rows = range((view.y - halfY) / spanY, (view.y + halfY) / spanY, Math.ceil(height / tiles.edge));
    return rows.flatMap((row) => columns.map((column) => [level, column, row]));
  }

  // A tile, or as long as it is not there, the part of a coarser one.
  function drawTile(layer, [level, column, row]) {
    for (let n = level; n < tiles.levels.length; n++) {
      // Sizes are rounded down from level to level, so that the last tile may have no coarser one of its own.
      const [c, r] = [column, row].map((at, axis) => Math.min(at >> (n - level), Math.ceil(tiles.levels[n][axis] / tiles.edge) - 1));
      const { tile } = tiles.load(`${n}-${c}-${r}`);
      if (!tile) continue;
      const image = tiles.drawn(tile, layer, n, c, r);
      if (!image) return;
      context.save();
      if (n > level) {
        context.beginPath();
        context.rect(...boxOf(level, column, row));
        context.clip();
      }
      context.drawImage(image, ...boxOf(n, c, r));
      context.restore();
      return;
    }
  }

  function drawLayer(layer, places, from, to) {
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    context.globalAlpha = layer.opacity.value / 100;
    context.imageSmoothingEnabled = layer.name === "picture" || layer.name === "confidence";
    for (const each of places) drawTile(layer.name, each);
    context.restore();
  }

  function paint() {
    const [width, height] = size().map((edge) => Math.max(1, Math.round(edge * ratio())));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    const places = seen(levelOf());
    const middle = Math.round(swipe.at * width);
    for (const layer of layers) {
      const compared = swipe.on.checked && layer.name !== "picture";
      if (!compared && layer.on.checked) drawLayer(layer, places, 0, width);
      if (compared && swipe.left.value === layer.name) drawLayer(layer, places, 0, middle);
      if (compared && swipe.right.value === layer.name) drawLayer(layer, places, middle, width);
    }
    if (marked) drawMark(across(marked[0]), down(marked[1]));
    if (canvas.matches(":focus-visible")) drawMark(width / 2, height / 2, true);
    drawScale();
    canvas.setAttribute("aria-busy", String(tiles.pending() > 0));
    swipe.border.hidden = !swipe.on.checked;
    swipe.border.style.left = `${100 * swipe.at}%`;
  }

  function drawMark(x, y, cross = false) {
    const r = 7 * ratio();
    for (const [color, line] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = color;
      context.lineWidth = line * ratio();
      context.beginPath();
      if (cross) for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + a * r * 0.4, y + b * r * 0.4);
        context.lineTo(x + a * r * 1.6, y + b * r * 1.6);
      } else context.arc(x, y, r, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function drawScale() {
    const room = (Math.min(160, size()[0] / 3) / view.scale) * place.pixel;
    const power = 10 ** Math.floor(Math.log10(room));
    const metres = [5, 2, 1].map((n) => n * power).find((each) => each <= room);
    find("bar").style.width = `${(metres / place.pixel) * view.scale}px`;
    find("length").textContent = metres >= 1000 ? `${metres / 1000} km` : `${metres} m`;
  }

  // ------------------------------------------------------------------------------------------------ moving

  function move(x, y, scale = view.scale) {
    view.scale = Math.min(Math.max(scale, fitting() / 2), 40);
    view.x = Math.min(Math.max(x, 0), place.width);
    view.y = Math.min(Math.max(y, 0), place.height);
    draw();
  }

  const whole = () => move(place.width / 2, place.height / 2, fitting());

  // Zoom, so that what is below a point of the screen, from the middle, stays there.
  function zoom(factor, [dx, dy] = [0, 0]) {
    const scale = Math.min(Math.max(view.scale * factor, fitting() / 2), 40);
    const gain = 1 / view.scale - 1 / scale;
    move(view.x + dx * gain, view.y + dy * gain, scale);
  }

  const fromMiddle = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  };
  const below = (event) => {
    const [dx, dy] = fromMiddle(event);
    return [view.x + dx / view.scale, view.y + dy / view.scale];
  };

  const fingers = new Map();
  let moved = 0;

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, fromMiddle(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    find("where").textContent = inside(...below(event)) ? place.words(...below(event), 4) : "";
    if (!fingers.has(event.pointerId)) return;
    const gauge = () => {
      const all = [...fingers.values()];
      const middle = [0, 1].map((n) => all.reduce((sum, each) => sum + each[n], 0) / all.length);
      return { middle, spread: all.length < 2 ? 1 : Math.hypot(all[0][0] - all[1][0], all[0][1] - all[1][1]) };
    };
    const before = gauge();
    fingers.set(event.pointerId, fromMiddle(event));
    const after = gauge();
    const [dx, dy] = [after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]];
    moved += Math.hypot(dx, dy) + Math.abs(after.spread - before.spread);
    if (moved < 5) return;
    move(view.x - dx / view.scale, view.y - dy / view.scale);
    if (before.spread > 1) zoom(after.spread / before.spread, after.middle);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (!fingers.delete(event.pointerId) || end === "pointercancel") return;
      if (moved < 5 && !fingers.size) inspect(...below(event));
    });
  }
  canvas.addEventListener("pointerleave", () => (find("where").textContent = ""));
  canvas.addEventListener("dblclick", (event) => zoom(2, fromMiddle(event)));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(2 ** (-event.deltaY / (event.deltaMode ? 8 : 250)), fromMiddle(event));
  }, { passive: false });

  const KEYS = {
    ArrowLeft: () => move(view.x - 80 / view.scale, view.y),
    ArrowRight: () => move(view.x + 80 / view.scale, view.y),
    ArrowUp: () => move(view.x, view.y - 80 / view.scale),
    ArrowDown: () => move(view.x, view.y + 80 / view.scale),
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    Home: whole,
    Enter: () => inspect(view.x, view.y),
    " ": () => inspect(view.x, view.y),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
  find("closer").addEventListener("click", () => zoom(2));
  find("farther").addEventListener("click", () => zoom(1 / 2));
  find("whole").addEventListener("click", whole);

  // ------------------------------------------------------------------------------------------------ comparing

  function setBorder(share) {
    swipe.at = Math.min(Math.max(share, 0), 1);
    swipe.border.setAttribute("aria-valuenow", Math.round(100 * swipe.at));
    draw();
  }
  for (const each of [swipe.on, swipe.left, swipe.right]) {
    each.addEventListener("change", () => {
      find("compared").hidden = !swipe.on.checked;
      for (const { name, on } of layers) on.disabled = swipe.on.checked && name !== "picture";
      draw();
    });
  }
  swipe.border.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    swipe.border.focus();
    swipe.border.setPointerCapture(event.pointerId);
  });
  swipe.border.addEventListener("pointermove", (event) => {
    if (!swipe.border.hasPointerCapture(event.pointerId)) return;
    const box = frame.getBoundingClientRect();
    setBorder((event.clientX - box.left) / box.width);
  });
  swipe.border.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: swipe.at - 0.02, ArrowRight: swipe.at + 0.02, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    setBorder(to);
  });

  // ------------------------------------------------------------------------------------------------ asking

  const inside = (x, y) => x >= 0 && x < place.width && y >= 0 && y < place.height;
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

  function made(tag, text, name) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  }
  function swatch(color) {
    const square = made("span", "", "swatch");
    square.style.background = color;
    return square;
  }
  function entry(list, name, color, text) {
    const value = made("dd", text);
    if (color) value.prepend(swatch(color));
    list.append(made("dt", name), value);
  }

  async function inspect(x, y) {
    if (!inside(x, y)) return;
    marked = [x, y];
    draw();
    const asked = marked;
    const box = find("here");
    let known;
    try {
      known = await tiles.known(x, y);
    } catch (error) {
      if (asked === marked) box.replaceChildren(made("p", `${error.message}. Keep the page and its folder "tiles" together.`));
      return;
    }
    if (asked !== marked) return;
    const list = document.createElement("dl");
    const named = (value) => ABOUT.classes[value];
    const found = named(known.map);
    // Also on the map itself, for screens on which one sees no more than that.
    find("where").textContent = found ? found.name : "no data";
    entry(list, "Land cover", found?.color, found ? found.name : "no data");
    if (found) entry(list, "CORINE codes", null, found.codes);
    if (known.confidence !== tiles.NOTHING) entry(list, "Confidence", null, `about ${percent(known.confidence / tiles.scale)}`);
    if (ABOUT.tiles.layers.includes("reference")) {
      const truth = named(known.reference);
      entry(list, "Reference", truth?.color, truth ? truth.name : "unlabelled");
      if (known.agreement !== tiles.NOTHING) entry(list, "Agreement", ABOUT.marks[known.agreement].color, ABOUT.marks[known.agreement].name);
    }
    entry(list, "Place", null, place.words(x, y));
    entry(list, "On the map's grid", null, place.metresOf(x, y));
    box.replaceChildren(list, ...chart(known.probabilities));
  }

  function chart(probabilities) {
    if (!probabilities.length) return [];
    const metres = ABOUT.tiles.probabilities.metres;
    const mean = metres > place.pixel ? `, mean over ${metres} x ${metres} m` : "";
    const ranked = probabilities.map((share, n) => [share, n]).sort((a, b) => b[0] - a[0]).filter(([share]) => share >= 0.005);
    const list = document.createElement("ul");
    list.className = "shares";
    for (const [share, n] of ranked.slice(0, 8)) {
      const item = made("li", "");
      const bar = made("span", "", "share");
      bar.style.width = `${100 * share}%`;
      bar.style.background = ABOUT.classes[n].color;
      item.append(made("span", ABOUT.classes[n].name), made("b", percent(share)), bar);
      list.append(item);
    }
    return [made("h3", `Probabilities${mean}`), list];
  }

  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const [said, box] = [find("found"), find("degrees")];
    const degrees = place.read(box.value);
    const at = degrees && place.pixelsOf(...degrees);
    box.setAttribute("aria-invalid", String(!at));
    if (!degrees) said.textContent = "Give latitude, then longitude in degrees, such as 47.8013, 13.0448.";
    else if (!at) said.textContent = `This place is not on the map, which reaches from ${place.extent()}.`;
    else {
      said.textContent = `Found: ${place.words(...at)}.`;
      move(...at, Math.max(view.scale, 2));
      inspect(...at);
    }
  });

  // ------------------------------------------------------------------------------------------------ the beginning

  tiles.onChange((error) => {
    if (error) {
      find("trouble").hidden = false;
      find("trouble").textContent = `${error.message}. Keep the page and its folder "tiles" together.`;
    }
    draw();
  });
  if (typeof DecompressionStream === "undefined") {
    find("trouble").hidden = false;
    find("trouble").textContent = "This browser is too old for the map; any of 2023 or later shows it.";
  }
  let first = true;
  new ResizeObserver(() => {
    if (first) whole();
    first = false;
    draw();
  }).observe(canvas);
})();
