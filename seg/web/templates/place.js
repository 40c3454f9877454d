"use strict";

const ABOUT = JSON.parse(document.getElementById("about").textContent);

// Places: from degrees to pixels of the map and back, by polynomials that were fitted when the page was made.
const place = (() => {
  const { middle, reach, toDegrees, toPixels, epsg, west, north, pixel } = ABOUT.place;
  const [width, height] = ABOUT.tiles.levels[0];

  function evaluated([degree, first, second], u, v) {
    const sums = [0, 0];
    let term = 0;
    for (let total = 0; total <= degree; total++) {
      for (let i = total; i >= 0; i--, term++) {
        const power = u ** i * v ** (total - i);
        sums[0] += first[term] * power;
        sums[1] += second[term] * power;
      }
    }
    return sums;
  }

  const around = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

  // Latitude and longitude of a place of the map, given by column and row.
  function degreesOf(x, y) {
    const [s, t] = evaluated(toDegrees, (2 * x) / width - 1, (2 * y) / height - 1);
    return [middle[1] + t * reach[1], around(middle[0] + s * reach[0])];
  }

  // Column and row of a place; null where the map has none.
  function pixelsOf(latitude, longitude) {
    const s = around(longitude - middle[0]) / reach[0];
    const t = (latitude - middle[1]) / reach[1];
    // Beyond its reach the polynomial says nothing.
    if (!(Math.abs(s) <= 1.001 && Math.abs(t) <= 1.001)) return null;
    const [u, v] = evaluated(toPixels, s, t);
    const [x, y] = [((u + 1) / 2) * width, ((v + 1) / 2) * height];
    return x >= 0 && x < width && y >= 0 && y < height ? [x, y] : null;
  }

  const NUMBER = "([-+\u2212]?\\d+(?:\\.\\d+)?)\\s*(?:\u00b0\\s*(?:(\\d+(?:\\.\\d+)?)\\s*['\u2032\u2019]\\s*(?:(\\d+(?:\\.\\d+)?)\\s*[\"\u2033\u201d])?)?)?";
  const PART = new RegExp(`([NSEW])\\s*${NUMBER}|${NUMBER}\\s*([NSEW](?![a-z]))?`, "giu");

  // Latitude and longitude from what somebody has typed; null if these are none.
  function read(text) {
    const parts = [...text.matchAll(PART)];
    if (parts.length !== 2 || text.replace(PART, "").replace(/[\s,;]/g, "")) return null;
    const read = parts.map(([, before, d1, m1, s1, d2, m2, s2, after]) => {
      const [degrees, minutes, seconds] = d1 === undefined ? [d2, m2, s2] : [d1, m1, s1];
      const number = degrees.replace("\u2212", "-");
      const letter = (before ?? after ?? "").toUpperCase();
      const size = Math.abs(Number(number)) + Number(minutes ?? 0) / 60 + Number(seconds ?? 0) / 3600;
      return { letter, value: number.startsWith("-") || letter === "S" || letter === "W" ? -size : size };
    });
    const swapped = "EW".includes(read[0].letter || "N");
    const [latitude, longitude] = swapped ? [read[1], read[0]] : read;
    if ("EW".includes(latitude.letter || "N") || "NS".includes(longitude.letter || "E")) return null;
    return Math.abs(latitude.value) <= 90 && Math.abs(longitude.value) <= 180 ? [latitude.value, longitude.value] : null;
  }

  const side = (value, letters) => letters[value < 0 ? 1 : 0];

  function words(x, y, digits = 5) {
    const [latitude, longitude] = degreesOf(x, y);
    const shown = (value, letters) => `${Math.abs(value).toFixed(digits)}\u00b0 ${side(value, letters)}`;
    return `${shown(latitude, "NS")}, ${shown(longitude, "EW")}`;
  }

  const metresOf = (x, y) => `E ${Math.round(west + x * pixel)}, N ${Math.round(north - y * pixel)} m (EPSG:${epsg})`;

  const extent = () => `${words(0, height, 2)} to ${words(width, 0, 2)}`;

  return { width, height, pixel, degreesOf, pixelsOf, read, words, metresOf, extent };
})();
