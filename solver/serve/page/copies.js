// The chosen design in the forms that it can be taken away in.

import { WORDS } from "./state.js";
import { ask } from "./api.js";

/** The command that answers with this shape first. */
export function command(words, config, isFirst) {
  const pinned = isFirst ? words : { ...words, layers: String(config.num_layers), hidden: String(config.hidden_size) };
  const options = WORDS.filter((word) => pinned[word]).map((word) => {
    const option = `--${word.replaceAll("_", "-")}`;
    return word === "untied" ? option : `${option} ${quoted(pinned[word])}`;
  });
  return ["diysolve", ...options].join(" ");
}

const quoted = (text) => (/^[\w.,:%-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

export const configJson = (config) => `${JSON.stringify(config, null, 2)}\n`;

export function python(config) {
  const literal = (value) => (value === true ? "True" : value === false ? "False" : JSON.stringify(value));
  const fields = Object.entries(config).map(([name, value]) => `    ${name}=${literal(value)},`);
  return [
    "from diymodel import DIYConfig, DIYForCausalLM", "", "config = DIYConfig(", ...fields, ")",
    "model = DIYForCausalLM(config)", "",
  ].join("\n");
}

/** The config.json that transformers reads, from the service. Throws its Problem where transformers has no such model. */
export const huggingFace = async (config) => (await ask("/v1/export", { file: config, to: "hf" })).files["config.json"];
