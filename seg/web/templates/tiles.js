// Tiles: a script each, which hands over what it holds. Loaded when they are seen, given up when there are many.
const tiles = (() => {
  const { edge, levels, thin, scale } = ABOUT.tiles;
  const MOST = 120;
  const NOTHING = 255;
  const held = new Map();
  let changed = () => {};

  // Colours of all values of a layer, as canvases have them.
  const rgba = (red, green, blue) => (255 << 24) | (blue << 16) | (green << 8) | red;
  const hex = (color) => rgba(...[1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
  function shade(share) {
    const at = Math.min(share, 1) * (ABOUT.shades.length - 1);
    const low = Math.min(Math.floor(at), ABOUT.shades.length - 2);
    return rgba(...[0, 1, 2].map((c) => Math.round(ABOUT.shades[low][c] + (at - low) * (ABOUT.shades[low + 1][c] - ABOUT.shades[low][c]))));
  }
  const table = (colors) => Int32Array.from({ length: 256 }, (_, value) => colors[value] ?? 0);
  const classes = table(ABOUT.classes.map((each) => hex(each.color)));
  const colors = {
    map: classes,
    reference: classes,
    agreement: table(ABOUT.marks.map((each) => hex(each.color))),
    confidence: Int32Array.from({ length: 256 }, (_, value) => (value === NOTHING ? 0 : shade(value / scale))),
  };

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function opened(told) {
    const tile = { values: {}, canvases: {}, picture: null };
    const { picture, ...layers } = told;
    for (const [name, text] of Object.entries(layers)) tile.values[name] = await unpacked(text);
    if (picture) {
      tile.picture = new Image();
      tile.picture.src = picture;
      await tile.picture.decode();
    }
    const { map, reference } = tile.values;
    if (map && ABOUT.tiles.layers.includes("reference")) {
      tile.values.agreement = map.map((value, n) => {
        const truth = reference ? reference[n] : NOTHING;
        return value === NOTHING ? NOTHING : truth === NOTHING ? 2 : value === truth ? 1 : 0;
      });
    }
    return tile;
  }

  // What the script of a tile calls.
  window.seg = { tile: (name, told) => held.get(name)?.deliver(told) };

  function load(name) {
    let entry = held.get(name);
    if (entry) {
      // The least recently used are the first ones.
      held.delete(name);
      held.set(name, entry);
      return entry;
    }
    entry = { tile: null, failed: false };
    const told = new Promise((resolve, reject) => {
      entry.deliver = resolve;
      const script = document.createElement("script");
      script.src = `tiles/${name}.js`;
      script.onerror = () => {
        script.remove();
        reject(new Error(`tiles/${name}.js cannot be read`));
      };
      script.onload = () => script.remove();
      document.head.append(script);
    });
    entry.ready = told.then(opened).then((tile) => {
      entry.tile = tile;
      changed();
      return tile;
    });
    entry.ready.catch((error) => {
      entry.failed = true;
      changed(error);
    });
    held.set(name, entry);
    for (const [old, each] of held) {
      if (held.size <= MOST) break;
      if (each.tile && !old.startsWith(`${levels.length - 1}-`)) held.delete(old);
    }
    return entry;
  }

  const sizeOf = (level, column, row) => [
    Math.min(edge, levels[level][0] - column * edge),
    Math.min(edge, levels[level][1] - row * edge),
  ];

  // What a layer of a tile looks like: something that a canvas can draw, or null.
  function drawn(tile, layer, level, column, row) {
    if (layer === "picture") return tile.picture;
    if (!tile.values[layer]) return null;
    if (!tile.canvases[layer]) {
      const factor = layer === "confidence" ? thin : 1;
      const [width, height] = sizeOf(level, column, row).map((size) => Math.ceil(size / factor));
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const pixels = Int32Array.from(tile.values[layer], (value) => colors[layer][value]);
      const image = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
      canvas.getContext("2d").putImageData(image, 0, 0);
      tile.canvases[layer] = canvas;
    }
    return tile.canvases[layer];
  }

  // Everything that is known of a pixel.
  async function known(x, y) {
    const [column, row] = [Math.floor(x / edge), Math.floor(y / edge)];
    const { values } = await load(`0-${column}-${row}`).ready;
    const [width] = sizeOf(0, column, row);
    const [left, top] = [Math.floor(x) - column * edge, Math.floor(y) - row * edge];
    const at = (name, factor = 1) =>
      values[name]?.[Math.floor(top / factor) * Math.ceil(width / factor) + Math.floor(left / factor)] ?? NOTHING;
    const found = { map: at("map"), reference: at("reference"), agreement: at("agreement"), confidence: at("confidence", thin) };
    return { ...found, probabilities: found.map === NOTHING ? [] : await probabilities(x, y) };
  }

  async function probabilities(x, y) {
    const kept = ABOUT.tiles.probabilities;
    if (!kept) return [];
    const [left, top] = [
      Math.min(kept.width - 1, Math.floor((x * kept.width) / levels[0][0])),
      Math.min(kept.height - 1, Math.floor((y * kept.height) / levels[0][1])),
    ];
    const [column, row] = [Math.floor(left / kept.edge), Math.floor(top / kept.edge)];
    const { probabilities } = (await load(`p-${column}-${row}`).ready).values;
    if (!probabilities) return [];
    const width = Math.min(kept.edge, kept.width - column * kept.edge);
    const height = Math.min(kept.edge, kept.height - row * kept.edge);
    const offset = (top - row * kept.edge) * width + left - column * kept.edge;
    const shares = ABOUT.classes.map((_, n) => probabilities[n * width * height + offset]);
    return shares[0] === NOTHING ? [] : shares.map((value) => value / scale);
  }

  const pending = () => [...held.values()].filter((entry) => !entry.tile && !entry.failed).length;

  return { edge, levels, load, pending, drawn, known, sizeOf, NOTHING, scale, onChange: (call) => (changed = call) };
})();
