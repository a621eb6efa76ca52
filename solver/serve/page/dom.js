// Elements without a framework.

export const $ = (id) => document.getElementById(id);

/** An element: attributes by name, children as elements or text. Text is never read as markup. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "width%") element.style.width = `${value}%`;
    else if (name === "left%") element.style.left = `${value}%`;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A table: columns of {title, cell, number, wide}, one row per record. `wide` columns go where there is no room. */
export function table(columns, records, caption) {
  const kind = (column) => [column.number && "n", column.wide && "wide"].filter(Boolean).join(" ") || null;
  const head = columns.map((column) => el("th", { scope: "col", class: kind(column) }, column.title));
  const rows = records.map((record, index) =>
    el("tr", {}, ...columns.map((column) => el("td", { class: kind(column) }, column.cell(record, index)))));
  return el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}
