// The page: what is asked for on the left, what is answered on the right, both in the link.

import { $, el, table } from "./dom.js";
import { ask, newest, useToken } from "./api.js";
import { KIND, details, title } from "./chosen.js";
import { command, configJson, huggingFace, python } from "./copies.js";
import { GIB, bytes, count, gib, integer, number, round, signed } from "./format.js";
import { DARK, front, scatter } from "./plots.js";
import { DIMENSIONS, WORDS, fromLink, nameOf, toBody, toLink } from "./state.js";

const BAND = 1500; // most dots of a plot with a target; without one every dot is a search of its own
const BAND_WITHOUT_TARGET = 200;
const SETTLED = 350; // milliseconds without a change after which the explanation is asked for

const SLIDERS = {
  target: { low: 1e6, high: 1e11, read: number, write: round },
  vram: { low: 2e9, high: 2.56e11, read: bytes, write: (value) => `${Math.max(1, Math.round(value / 1e9))}GB` },
  tokens: { low: 1e9, high: 1e14, read: number, write: round },
};

let { words, pick } = fromLink(location.search);
let solution = null, rows = [], band = null, explained = null, settled = 0, meanings = {};

// The form

function makeForm() {
  for (const [word, label] of Object.entries(DIMENSIONS)) {
    $("dimensions").append(el("div", { class: "field" },
      el("label", { for: word }, label),
      el("input", { id: word, name: word, type: "text", placeholder: word === "vocab" ? "6400" : "any", "aria-describedby": `shape-hint ${word}-wrong` }),
      el("p", { id: `${word}-wrong`, class: "wrong", hidden: true })));
  }
  if (matchMedia("(max-width: 860px)").matches) for (const part of document.querySelectorAll("details")) part.open = false;
  $("query").addEventListener("submit", (event) => event.preventDefault());
  $("query").addEventListener("input", ({ target }) => edited(target));
  $("reset").addEventListener("click", () => {
    ({ words, pick } = fromLink(""));
    showForm();
    changed();
  });
}

async function fillCards() {
  const { devices } = await ask("/v1/devices");
  $("gpu").replaceChildren(...devices.map((card) =>
    el("option", { value: card.name }, `${card.title} — ${(card.memory_bytes / GIB).toFixed(1)} GiB`)));
  if (words.gpu) $("gpu").value = words.gpu;
}

/** The form says what the words say. */
function showForm() {
  for (const word of WORDS) {
    const input = $(word);
    if (word === "untied") input.checked = Boolean(words.untied);
    else if (word !== "gpu" || words.gpu) input.value = words[word] ?? "";
  }
  for (const word of Object.keys(SLIDERS)) slide(word);
  const kind = words.gpu ? "gpu" : words.vram ? "vram" : "none";
  document.querySelector(`[name=budget][value=${kind}]`).checked = true;
  showBudget(kind);
}

function showBudget(kind) {
  $("budget-vram").hidden = kind !== "vram";
  $("budget-gpu").hidden = kind !== "gpu";
}

/** Put a slider where its text is; it says the text aloud. */
function slide(word) {
  const { low, high, read } = SLIDERS[word], slider = $(`${word}-slider`), usual = { tokens: "1T", vram: "24GB" }[word];
  const value = read($(word).value || usual || "");
  if (value > 0) slider.value = Math.round((1000 * Math.log(value / low)) / Math.log(high / low));
  slider.setAttribute("aria-valuetext", $(word).value || usual || "not given");
}

function edited(input) {
  if (input.type === "range") {
    const word = input.id.replace("-slider", ""), { low, high, write } = SLIDERS[word];
    words[word] = $(word).value = write(low * (high / low) ** (input.value / 1000));
    input.setAttribute("aria-valuetext", words[word]);
  } else if (input.name === "budget") {
    delete words.vram;
    delete words.gpu;
    if (input.value === "vram") words.vram = $("vram").value ||= "24GB";
    if (input.value === "gpu") words.gpu = $("gpu").value;
    showBudget(input.value);
    slide("vram");
  } else {
    words[input.name] = input.type === "checkbox" ? (input.checked ? "yes" : "") : input.value.trim();
    if (SLIDERS[input.name]) slide(input.name);
  }
  changed();
}

// Asking

const draw = (asked) =>
  ask("/v1/band", { ...toBody(asked), top: asked.target ? BAND : BAND_WITHOUT_TARGET }).catch(() => null);

const solveNewest = newest(async (asked) => {
  const started = performance.now();
  // Where nothing fits there is nothing to draw; and without a target the band takes a whole search: that waits for rest.
  const drawn = asked.target && solution?.status !== "infeasible" ? draw(asked) : null;
  try {
    solution = await ask("/v1/solve", toBody(asked));
    explained = null;
    showMistake(null);
    showAnswer();
    $("timing").textContent = `answered in ${Math.round(performance.now() - started)} ms`;
  } catch (problem) {
    showMistake(problem);
  }
  if (solution?.status !== "solved" || !asked.target) return;
  band = await (drawn ?? draw(asked));
  showPlots();
});

function changed() {
  solveNewest({ ...words });
  clearTimeout(settled);
  settled = setTimeout(atRest, SETTLED);
}

/** When nothing changes any more: the link, and what takes many searches. */
async function atRest() {
  link();
  const body = toBody(words), key = JSON.stringify(body), isStale = () => key !== JSON.stringify(toBody(words));
  if (!words.target) {
    band = await draw(words);
    if (solution?.status === "solved" && !isStale()) showPlots();
  }
  const found = await ask("/v1/solve", { ...body, explain: true }).catch(() => null);
  if (!found || isStale() || !solution) return;
  explained = found.explanation;
  for (const { term, meaning } of explained.terms) if (meaning !== "-") meanings[term] = meaning;
  showChosen();
  showRelaxations();
}

function link() {
  history.replaceState(null, "", toLink(words, pick));
}

// What is wrong

function showMistake(problem) {
  for (const place of document.querySelectorAll(".wrong")) place.hidden = true;
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  $("status").classList.toggle("bad", Boolean(problem));
  $("token-form").hidden = problem?.status !== 401;
  if (!problem) return;
  $("status").textContent = problem.message;
  $("timing").textContent = "";
  const place = $(`${problem.field}-wrong`), input = problem.field && $(problem.field);
  if (!place || !input) return;
  input.setAttribute("aria-invalid", "true");
  place.textContent = problem.message;
  place.hidden = false;
  $("status").textContent = "That cannot be answered; the field in question says why.";
}

// The answer

function showAnswer() {
  const solved = solution.status === "solved";
  $("status").textContent = `${solution.message[0].toUpperCase()}${solution.message.slice(1)}.`;
  rows = solved ? solution.candidates : solution.nearest.map((miss) => ({ ...miss, memory: null, params: null, size: miss.params }));
  $("candidates-title").textContent = solved ? "Candidates" : "Nearest misses";
  $("candidates").replaceChildren(solved ? candidates() : misses());
  $("candidates-note").textContent = solved
    ? "= marks what the evidence cannot tell from rank 1. Loss and score in nats, lower is better."
    : solution.largest_target_that_fits ? `The largest target that fits: ${count(solution.largest_target_that_fits)}.` : "";
  for (const plot of document.querySelectorAll(".plots, #why")) plot.hidden = !solved;
  if (solved) $("why").hidden = !explained;
  for (const input of $("candidates").querySelectorAll("input"))
    input.addEventListener("change", () => choose(input.value));
  for (const row of $("candidates").querySelectorAll("tbody tr"))
    row.addEventListener("click", () => row.querySelector("input").click());
  choose(rows.some(({ config }) => nameOf(config) === pick) ? pick : null, false);
}

/** The column with which a row is chosen: radios, so that arrow keys go through them. */
const choice = (text) => ({
  title: "#",
  cell: ({ config }, index) => el("label", {},
    el("input", { type: "radio", name: "pick", value: nameOf(config) }),
    el("span", {}, text(index))),
});

const SHAPE = [
  { title: "layers", number: true, cell: ({ config }) => config.num_layers },
  { title: "hidden", number: true, cell: ({ config }) => config.hidden_size },
  { title: "heads/kv", number: true, wide: true, cell: ({ config }) => `${config.num_heads}/${config.num_kv_heads}` },
  { title: "head dim", number: true, wide: true, cell: ({ config }) => config.head_dim },
  { title: "intermediate", number: true, wide: true, cell: ({ config }) => config.intermediate_size },
];

function candidates() {
  const budget = solution.query.vram_bytes;
  return choices([
    choice((index) => `${index + 1}${index && rows[index].score.tie ? "=" : ""}`),
    ...SHAPE,
    { title: "params", number: true, cell: ({ params }) => count(params.total) },
    { title: "off target", number: true, wide: true, cell: ({ target_error: error }) => (error === null ? "—" : signed(error)) },
    { title: "peak GiB", number: true, cell: ({ memory }) => gib(memory.peak_bytes) },
    ...(budget ? [{ title: "verdict", wide: true, cell: ({ memory }) => el("span", { class: KIND[memory.verdict] }, memory.verdict) }] : []),
    ...(solution.query.largest_micro_batch ? [{ title: "batch", number: true, wide: true, cell: ({ memory }) => memory.recipe.micro_batch }] : []),
    { title: "loss", number: true, cell: ({ score }) => score.predicted_loss.toFixed(4) },
    { title: "step time", number: true, wide: true, cell: ({ relative_step_time: time }) => time.toFixed(2) },
  ], "Candidates, best first");
}

function misses() {
  return choices([
    choice((index) => String(index + 1)), ...SHAPE,
    { title: "params", number: true, cell: ({ size }) => count(size) },
    { title: "device GiB", number: true, cell: ({ device_bytes: needed }) => gib(needed) },
    { title: "breaks", wide: true, cell: ({ breaks }) => breaks.join("; ") },
  ], "Nearest misses");
}

function choices(columns, caption) {
  const found = table(columns, rows, caption);
  found.classList.add("choices");
  return found;
}

function choose(name, mine = true) {
  if (mine) pick = name;
  if (mine) link();
  const shown = name ?? (rows.length ? nameOf(rows[0].config) : null);
  for (const input of $("candidates").querySelectorAll("input")) {
    input.checked = input.value === shown;
    input.closest("tr").classList.toggle("picked", input.checked);
  }
  showChosen();
  if (mine && band) showPlots();
}

function chosen() {
  return rows.find(({ config }) => nameOf(config) === pick) ?? rows[0];
}

/** The card of the chosen shape. A near miss has no memory of its own yet: it is asked for. */
async function showChosen() {
  const shape = chosen();
  $("chosen").hidden = !shape;
  if (!shape) return;
  const isFirst = shape === rows[0];
  $("chosen-title").textContent = title(shape.config);
  $("command").textContent = command(words, shape.config, isFirst);
  if (!shape.memory) {
    try {
      [shape.memory, shape.params] = await missing(shape.config);
    } catch (problem) {
      return $("chosen-body").replaceChildren(el("p", { class: "wrong" }, problem.message));
    }
    if (chosen() !== shape) return;
  }
  const own = (explained?.terms ?? []).filter((reading) => reading.rank === shape.rank);
  const shapes = Object.fromEntries(own.map(({ term, shape: text }) => [term, text]));
  $("chosen-body").replaceChildren(...details(shape, { shapes, meanings }));
}

const MEMORY_WORDS = ["vram", "gpu", "seq", "micro_batch", "precision", "checkpointing", "optimizer", "mode", "attention", "loss", "profile"];

async function missing(config) {
  const all = toBody(words), body = Object.fromEntries(MEMORY_WORDS.filter((word) => word in all).map((word) => [word, all[word]]));
  const accumulation = solution?.query.recipe.accumulation; // where days are shown, a step accumulates
  if (accumulation) body.accumulate = accumulation;
  const [memory, counted] = await Promise.all([
    ask("/v1/memory", { file: config, ...body }), ask("/v1/count", { files: [config] }),
  ]);
  return [memory, counted.configs[0].params];
}

// The plots

const SHOWN = 0.9; // of the shapes are in the plot of losses: the worst would flatten the rest

function showPlots() {
  const empty = !band?.num_layers.length;
  document.querySelector(".plots").hidden = empty;
  if (empty) return;
  const first = rows[0] && nameOf(rows[0].config), shape = chosen();
  const names = band.num_layers.map((layers, i) => `${layers}x${band.hidden_size[i]}`);
  const winner = names.indexOf(first), picked = shape ? names.indexOf(nameOf(shape.config)) : -1;
  const tip = (i) => [
    `${band.num_layers[i]} layers of ${integer(band.hidden_size[i])}`,
    `${count(band.params[i])} params, loss ${band.predicted_loss[i].toFixed(4)}`,
    `peak ${gib(band.peak_bytes[i])} GiB`,
  ].join("\n");
  const listed = (i) => rows.some(({ config }) => nameOf(config) === names[i]);
  const common = { winner, picked, tip, choose: (i) => (listed(i) ? choose(names[i]) : pin(i)) };
  const best = winner < 0 ? "" : `; the best has ${band.num_layers[winner]} layers of ${band.hidden_size[winner]}`;
  scatter($("band"), {
    ...common,
    losses: band.predicted_loss,
    x: { values: band.hidden_size, title: "hidden size", format: integer, log: true },
    y: { values: band.num_layers, title: "layers", format: integer, log: true },
    label: `Depth against width of ${integer(names.length)} admissible shapes, coloured by predicted loss${best}.`,
  });
  const kept = Math.ceil(SHOWN * names.length); // the columns are in the order of the answer
  const losses = band.predicted_loss.slice(0, kept), peaks = band.peak_bytes.slice(0, kept).map((value) => value / GIB);
  scatter($("pareto"), {
    ...common,
    losses,
    x: { values: peaks, title: "peak memory, GiB", format: (value) => Number(value.toPrecision(3)) },
    y: { values: losses, title: "predicted loss", format: (value) => value.toFixed(3) },
    front: front(peaks, losses),
    label: `Predicted loss against peak memory, with a line through those that nothing beats in both${best}.`,
  });
}

/** A dot that is not listed: ask for its depth and width. */
function pin(i) {
  words = { ...words, layers: String(band.num_layers[i]), hidden: String(band.hidden_size[i]) };
  pick = null;
  showForm();
  changed();
}

function showRelaxations() {
  const shown = explained.relaxations.filter(({ config }) => config);
  $("why").hidden = !shown.length;
  $("relaxations").replaceChildren(table([
    { title: "change", cell: ({ change }) => change },
    { title: "layers", number: true, cell: ({ config }) => config.num_layers },
    { title: "hidden", number: true, cell: ({ config }) => config.hidden_size },
    { title: "loss", number: true, cell: ({ predicted_loss: loss }) => loss.toFixed(4) },
    { title: "loss falls by", number: true, cell: ({ loss_gain: gain }) => (gain === null ? "—" : gain.toFixed(4)) },
    { title: "note", wide: true, cell: ({ note }) => el("span", { class: "source" }, note) },
  ], shown, "What loosening each constraint would buy"));
}

// Taking it away

const COPIES = {
  command: () => $("command").textContent,
  config: () => configJson(chosen().config),
  hf: () => huggingFace(chosen().config),
  python: () => python(chosen().config),
  link: () => location.origin + location.pathname + toLink(words, pick),
};

async function copy(button) {
  const said = button.dataset.said ??= button.textContent;
  try {
    await put(await COPIES[button.dataset.copy]());
    button.textContent = "Copied";
    $("status").textContent = `${said}: copied.`;
  } catch (problem) {
    $("status").textContent = problem.message;
  }
  setTimeout(() => { button.textContent = said; }, 1500);
}

/** Into the clipboard; where a browser has none (a page without TLS elsewhere), through a selection. */
async function put(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", {}, text);
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

makeForm();
showForm();
$("chosen").querySelector(".copies").addEventListener("click", ({ target }) => target.dataset.copy && copy(target));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("token").value);
  fillCards();
  changed();
});
addEventListener("popstate", () => {
  ({ words, pick } = fromLink(location.search));
  showForm();
  changed();
});
fillCards().catch(() => {});
const redraw = () => band && solution?.status === "solved" && showPlots();
new ResizeObserver(redraw).observe($("answer"));
DARK.addEventListener("change", redraw);
solveNewest({ ...words });
settled = setTimeout(atRest, SETTLED);
