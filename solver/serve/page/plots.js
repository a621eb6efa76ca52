// Scatter plots by hand: a shape is a dot, coloured by its predicted loss. One path per colour, so that a thousand dots
// are drawn as quickly as a dozen.

import { el, svg } from "./dom.js";

const HEIGHT = 350, LEFT = 56, RIGHT = 10, TOP = 10, BOTTOM = 74;
const NARROWEST = 280, WIDEST = 900; // drawn at the width that there is, so that its text stays the size of text
const COLOURS = 12;

export const DARK = matchMedia("(prefers-color-scheme: dark)");

// Cividis (Nuñez et al. 2018), which people with any colour vision read the same. Low losses stand out: they are dark
// where the page is light, and bright where it is dark.
const SCALE = [[0, 32, 81], [60, 77, 110], [127, 124, 117], [187, 175, 113], [253, 234, 69]];

function colour(share) {
  const at = (DARK.matches ? 1 - share : share) * (SCALE.length - 1), low = Math.min(Math.floor(at), SCALE.length - 2);
  const mix = SCALE[low].map((value, channel) => Math.round(value + (at - low) * (SCALE[low + 1][channel] - value)));
  return `rgb(${mix.join(" ")})`;
}

/**
 * Draw columns into a place.
 *
 * x, y: {values, title, format, log}; losses: of each dot; front: indices to join with a line; winner, picked: indices;
 * limit: an x to mark; label: what it shows, in a sentence; tip: the lines about a dot; choose: called with an index.
 */
export function scatter(place, { x, y, losses, front = [], winner, picked, limit, label, tip, choose }) {
  const width = Math.min(Math.max(place.clientWidth, NARROWEST), WIDEST);
  const across = axis(x, LEFT, width - RIGHT, limit), down = axis(y, HEIGHT - BOTTOM, TOP);
  const points = losses.map((_, i) => [across.at(x.values[i]), down.at(y.values[i])]);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  drawing.append(...grid(across, down, x, y, width), ...dots(points, losses));
  if (limit && limit >= across.low && limit <= across.high) {
    const at = across.at(limit);
    drawing.append(svg("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM, class: "limit" }));
  }
  if (front.length) drawing.append(svg("path", { class: "front", d: `M${front.map((i) => points[i].map(fine).join(" ")).join("L")}` }));
  mark(drawing, points[winner], "winner", 8);
  mark(drawing, points[picked], "picked", 5.5);
  drawing.append(...key(losses, width));
  const words = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  place.replaceChildren(drawing, words);
  follow(place, drawing, points, words, tip, choose);
}

const fine = (value) => value.toFixed(1);

/** Where a value lies on an axis from one end to the other, with room around the values. */
function axis({ values, log }, from, to, also) {
  const shown = also ? [...values, also] : values;
  let low = Infinity, high = -Infinity;
  for (const value of shown) { low = Math.min(low, value); high = Math.max(high, value); }
  const scale = log ? Math.log : (value) => value, back = log ? Math.exp : (value) => value;
  const margin = 0.05 * (scale(high) - scale(low)) || 0.1 * Math.abs(scale(high)) || 1;
  const first = scale(low) - margin, last = scale(high) + margin;
  const at = (value) => from + ((scale(value) - first) / (last - first)) * (to - from);
  return { at, low: back(first), high: back(last), ticks: log ? logTicks(back(first), back(last)) : ticks(first, last) };
}

function ticks(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(tick);
  return found;
}

function logTicks(low, high) {
  if (high / low < 3) return ticks(low, high).filter((tick) => tick > 0);
  const found = [];
  for (let power = 2 ** Math.floor(Math.log2(low)); power <= high; power *= 2) if (power >= low) found.push(power);
  return found;
}

function grid(across, down, x, y, width) {
  const bottom = HEIGHT - BOTTOM, parts = [];
  for (const tick of across.ticks) {
    const at = across.at(tick);
    parts.push(svg("line", { class: "axis", x1: at, x2: at, y1: TOP, y2: bottom }));
    parts.push(svg("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, x.format(tick)));
  }
  for (const tick of down.ticks) {
    const at = down.at(tick);
    parts.push(svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
    parts.push(svg("text", { x: LEFT - 7, y: at + 4, "text-anchor": "end" }, y.format(tick)));
  }
  parts.push(svg("text", { x: (LEFT + width - RIGHT) / 2, y: bottom + 34, "text-anchor": "middle" }, x.title));
  const middle = (TOP + bottom) / 2;
  parts.push(svg("text", { transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" }, y.title));
  return parts;
}

/** The losses that the two ends of the colours stand for: all but the worst tenth, which would wash out the rest. */
function range(losses) {
  const sorted = [...losses].sort((a, b) => a - b);
  const low = sorted[0], high = sorted[Math.floor(0.9 * (sorted.length - 1))];
  return [low, high > low ? high : low + 1e-6];
}

function dots(points, losses) {
  const [low, high] = range(losses), paths = Array.from({ length: COLOURS }, () => []);
  points.forEach(([x, y], i) => {
    const share = Math.min((losses[i] - low) / (high - low), 1);
    paths[Math.min(Math.floor(share * COLOURS), COLOURS - 1)].push(`M${fine(x)} ${fine(y)}h0`);
  });
  const size = points.length > 400 ? 5 : 7;
  return paths.map((path, i) => path.length ? svg("path", {
    d: path.join(""), stroke: colour((i + 0.5) / COLOURS), "stroke-width": size, "stroke-linecap": "round", fill: "none",
  }) : null).filter(Boolean).reverse();
}

function mark(drawing, point, name, radius) {
  if (point) drawing.append(svg("circle", { cx: point[0], cy: point[1], r: radius, class: name }));
}

function key(losses, width) {
  const [low, high] = range(losses), y = HEIGHT - 12, box = 9, left = (LEFT + width - RIGHT - COLOURS * box) / 2 - 8;
  const boxes = Array.from({ length: COLOURS }, (_, i) =>
    svg("rect", { x: left + i * box, y: y - 10, width: box, height: 11, fill: colour((i + 0.5) / COLOURS) }));
  return [
    svg("text", { x: left - 7, y, "text-anchor": "end" }, `loss ${low.toFixed(3)}`), ...boxes,
    svg("text", { x: left + COLOURS * box + 7, y }, `${high.toFixed(3)} and more`),
  ];
}

/** The nearest dot under the pointer says what it is, and may be chosen. */
function follow(place, drawing, points, words, tip, choose) {
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect(), scale = drawing.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = -1, distance = 20 ** 2;
    points.forEach(([px, py], i) => {
      const d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) { best = i; distance = d; }
    });
    return { best, scale };
  };
  drawing.onpointermove = (event) => {
    const { best, scale } = nearest(event);
    words.hidden = best < 0;
    if (best < 0) return;
    words.textContent = tip(best);
    const [x, y] = points[best];
    const left = Math.min(Math.max(x / scale + 12, 0), place.clientWidth - words.offsetWidth);
    words.style.left = `${left}px`;
    words.style.top = `${y / scale + 12}px`;
  };
  drawing.onpointerleave = () => { words.hidden = true; };
  drawing.onclick = (event) => {
    const { best } = nearest(event);
    if (best >= 0) choose(best);
  };
}

/** The dots that no other has both less memory and less loss than, by memory. */
export function front(memory, losses) {
  const order = losses.map((_, i) => i).sort((a, b) => memory[a] - memory[b] || losses[a] - losses[b]);
  let least = Infinity;
  return order.filter((i) => losses[i] < least && ((least = losses[i]), true));
}
