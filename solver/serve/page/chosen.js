// Everything about one shape: its parameters, its memory, its score, what would make it fit.

import { el, table } from "./dom.js";
import { GIB, gib, integer, percent } from "./format.js";

const COMPONENTS = ["embedding", "attention", "mlp", "norm", "lm_head"];
const PARTS = ["weights", "weight_copies", "gradients", "optimizer", "activations", "logits_loss", "temporaries", "kv_cache", "buffers"];

const words = (name) => name.replaceAll("_", " ");

export const title = (config) =>
  `${config.num_layers} layers of ${integer(config.hidden_size)}, ` +
  `heads ${config.num_heads}/${config.num_kv_heads} of ${config.head_dim}, intermediate ${integer(config.intermediate_size)}`;

/** The body of the card: candidate has config, params (or null) and memory; readings are the terms in words. */
export function details({ config, params, memory, score }, readings) {
  return [
    el("div", { class: "two" },
      el("div", {}, ...(params ? parameters(params) : [])),
      el("div", {}, ...moments(memory))),
    ...remedies(memory),
    ...(score ? terms(score, readings) : []),
  ];
}

function parameters(params) {
  const known = COMPONENTS.filter((name) => params[name] > 0);
  const parts = known.map((name) => [name, params[name], COMPONENTS.indexOf(name)]);
  return [
    el("h3", {}, `Parameters: ${integer(params.total)}`),
    bar(parts, params.total),
    el("dl", { class: "legend" }, ...parts.flatMap(([name, value, index]) => [
      el("dt", { class: `swatch s${index}`, "aria-hidden": "true" }), el("dd", {}, words(name)),
      el("dd", { class: "n" }, integer(value)), el("dd", { class: "n" }, percent(value / params.total)),
    ])),
  ];
}

/** A stacked bar; what it says stands beside it in numbers. */
function bar(parts, whole, rest = 0) {
  const pieces = parts.map(([, value, index]) => el("i", { class: `s${index}`, "width%": (100 * value) / whole }));
  if (rest > 0) pieces.push(el("i", { class: "hatch", "width%": (100 * rest) / whole }));
  return el("div", { class: "bar", "aria-hidden": "true" }, ...pieces);
}

function moments(memory) {
  const budget = memory.budget_bytes, whole = Math.max(memory.device_bytes, budget ?? 0) * 1.02;
  const rows = Object.entries(memory.moments).flatMap(([moment, parts]) => {
    const binds = moment === memory.binding, rest = binds ? memory.device_bytes - memory.peak_bytes : 0;
    const pieces = PARTS.map((name, index) => [name, parts[name], index]).filter(([, value]) => value > 0);
    const track = el("div", { class: "track" }, bar(pieces, whole, rest));
    if (budget) track.append(el("b", { "left%": (100 * budget) / whole, "aria-hidden": "true" }));
    return [
      el("div", { class: binds ? "binds" : null }, words(moment)), track,
      el("div", { class: `n ${binds ? "binds" : ""}` }, `${gib(parts.total)} GiB`),
    ];
  });
  const seen = PARTS.filter((name) => Object.values(memory.moments).some((parts) => parts[name] >= GIB / 200));
  return [
    el("h3", {}, "Memory by moment of a step, predicted"),
    el("div", { class: "moments" }, ...rows),
    el("ul", { class: "keys" },
      ...seen.map((name) => el("li", {}, el("span", { class: `swatch s${PARTS.indexOf(name)}`, "aria-hidden": "true" }), words(name))),
      el("li", {}, el("span", { class: "swatch hatch", "aria-hidden": "true" }), "slack and context"),
      budget ? el("li", {}, el("span", { class: "limit-key", "aria-hidden": "true" }, "▏"), "budget") : null),
    el("p", { class: "fact" }, ...fact(memory)),
  ];
}

export const KIND = { fits: "fits", uncertain: "uncertain", "does not fit": "not" };
const FITS = { fits: "yes", uncertain: "uncertain", "does not fit": "no" };

function fact(memory) {
  const need = `Peak ${gib(memory.peak_bytes)} GiB at ${words(memory.binding)}, ${gib(memory.device_bytes)} GiB on the device`;
  if (!memory.budget_bytes) return [`${need}. No budget was given.`];
  return [
    `${need}, of ${gib(memory.budget_bytes)}: `, el("strong", { class: KIND[memory.verdict] }, memory.verdict),
    `. Largest micro-batch: ${integer(memory.max_micro_batch)}.`,
  ];
}

function remedies(memory) {
  if (!memory.budget_bytes) return [];
  if (!memory.remedies.length) {
    const what = memory.verdict === "fits" ? "Nothing: it fits, with a reserve." : "It fits, without the reserve that unusual allocator slack would take.";
    return [el("h3", {}, "What would make it fit"), el("p", { class: "fact" }, what)];
  }
  return [
    el("h3", {}, "What would make it fit"),
    scrolling("Remedies", table([
      { title: "change", cell: (remedy) => remedy.change },
      { title: "saves GiB", number: true, cell: (remedy) => gib(remedy.saved_bytes) },
      { title: "peak GiB", number: true, cell: (remedy) => gib(remedy.peak_bytes) },
      { title: "fits", cell: (remedy) => el("span", { class: KIND[remedy.verdict] }, FITS[remedy.verdict]) },
      { title: "largest micro-batch", number: true, wide: true, cell: (remedy) => integer(remedy.max_micro_batch) },
    ], memory.remedies, "What would make it fit")),
  ];
}

/** Each term of the score; its words and its source are those of rank 1 where this shape has none of its own. */
function terms(score, { shapes, meanings }) {
  return [
    el("h3", {}, `Score: ${score.total.toFixed(4)} nats`),
    scrolling("Score terms", table([
      { title: "term", cell: ([name]) => words(name) },
      { title: "nats", number: true, cell: ([, nats]) => nats.toFixed(4) },
      { title: "what it looks at", wide: true, cell: ([name]) => shapes[name] ?? "" },
      { title: "what it charges, and whose evidence that is", cell: ([name]) => el("span", { class: "source" }, meanings[name] ?? "") },
    ], Object.entries(score.terms), "Score terms")),
  ];
}

export const scrolling = (label, content) =>
  el("div", { class: "scroll", role: "group", "aria-label": label, tabindex: "0" }, content);

