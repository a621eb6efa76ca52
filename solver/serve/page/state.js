// What is asked for: the words of the command line, in the form, in the URL and in a request's body.

export const DIMENSIONS = {
  layers: "Layers", hidden: "Hidden", heads: "Heads", kv_heads: "KV heads",
  head_dim: "Head dim", intermediate: "Intermediate", vocab: "Vocabulary",
};

const RECIPE = ["precision", "checkpointing", "optimizer", "prefer", "mode", "attention", "loss", "profile"];

/** In the order of the command line. */
export const WORDS = [
  "target", "vram", "gpu", "tolerance", "tokens", ...Object.keys(DIMENSIONS), "untied", "seq", "micro_batch", ...RECIPE,
];

const START = { target: "500M", vram: "24GB" };

/** The words of a link, and the design that it picks; the start where it has none. */
export function fromLink(search) {
  const given = new URLSearchParams(search);
  const words = {};
  for (const word of WORDS) if (given.get(word)) words[word] = given.get(word);
  return { words: Object.keys(words).length ? words : { ...START }, pick: given.get("pick") };
}

export function toLink(words, pick) {
  const given = new URLSearchParams(WORDS.filter((word) => words[word]).map((word) => [word, words[word]]));
  if (pick) given.set("pick", pick);
  return `?${given.toString().replaceAll("%3A", ":").replaceAll("%2C", ",")}`;
}

/** A request's body: numbers and flags are JSON's own. */
export function toBody(words) {
  const body = {};
  for (const word of WORDS) {
    const value = words[word];
    if (!value) continue;
    if (word === "untied") body[word] = true;
    else if (word === "seq" || word === "micro_batch") body[word] = /^\d+$/.test(value) ? Number(value) : value;
    else body[word] = value;
  }
  return body;
}

/** The name of a shape in a link: no two rows of an answer share it. */
export const nameOf = (config) => `${config.num_layers}x${config.hidden_size}`;
