// Numbers as the command line prints them.

const SUFFIXES = [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]];
export const GIB = 2 ** 30;

/** Four significant digits and a suffix: 504.7M. */
export function count(value) {
  const [suffix, size] = SUFFIXES.find(([, size]) => value >= size) ?? ["", 1];
  return size === 1 ? String(value) : `${digits(value / size, 4)}${suffix}`;
}

/** Three significant digits that a person would write, and that the service reads: 512M, 1.5B. */
export function round(value) {
  const step = 10 ** (Math.floor(Math.log10(value)) - 2);
  const rounded = Math.round(value / step) * step;
  const [suffix, size] = SUFFIXES.find(([, size]) => rounded >= size * 0.9999) ?? ["", 1];
  return `${Number((rounded / size).toPrecision(3))}${suffix}`;
}

/** The number that a text such as 500M means; NaN for what is none. */
export function number(text) {
  const match = /^\s*([\d_.]+(?:e\d+)?)\s*([KMBT]?)\s*$/i.exec(text);
  const size = Object.fromEntries(SUFFIXES)[match?.[2].toUpperCase()] ?? 1;
  return match ? Number(match[1].replaceAll("_", "")) * size : NaN;
}

/** Bytes of a text such as 24GB or 24GiB; NaN for what is none. */
export function bytes(text) {
  const match = /^\s*([\d_.]+)\s*([MGT])(i?)B\s*$/i.exec(text);
  if (!match) return NaN;
  const power = "MGT".indexOf(match[2].toUpperCase()) + 2;
  return Number(match[1].replaceAll("_", "")) * (match[3] ? 1024 : 1000) ** power;
}

export const gib = (value) => (value / GIB).toFixed(2);
export const integer = (value) => value.toLocaleString("en-US");
export const percent = (fraction, decimals = 1) => `${(100 * fraction).toFixed(decimals)} %`;
export const signed = (fraction) => `${fraction < 0 ? "−" : "+"}${Math.abs(100 * fraction).toFixed(2)} %`;

function digits(value, most) {
  const whole = Math.floor(value).toString().length;
  return value.toFixed(Math.max(0, most - whole));
}
