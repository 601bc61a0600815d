
"use strict";
// Cells that hold no value stay last, whichever way a table is sorted.
const MISSING = new Set(["", "-", "\u2013", "\u2014", "unknown", "diverged"]);
const NUMBER = /^(?:n=)?([+\-\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?)(?=$|[\s%[(])/i;
const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };

const textOf = (row, column) => (row.cells[column]?.textContent ?? "").trim();

function numberOf(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "").replace("\u2212", "-")) : null;
}

// A row that begins with "- " says something about the row above it, and moves with that.
function groupsOf(rows) {
  const groups = [];
  for (const row of rows) {
    if (groups.length && textOf(row, 0).startsWith("- ")) groups.at(-1).push(row);
    else groups.push([row]);
  }
  return groups;
}

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const sign = order === "ascending" ? 1 : -1;
  const items = groupsOf(rows).map((group) => {
    const text = textOf(group[0], column);
    return { group, text, missing: MISSING.has(text), number: numberOf(text) };
  });
  const there = items.filter((item) => !item.missing);
  const numeric = 2 * there.filter((item) => item.number !== null).length > there.length;
  const gone = (item) => item.missing || (numeric && item.number === null);
  items.sort((a, b) => {
    if (gone(a) || gone(b)) return Number(gone(a)) - Number(gone(b));
    return sign * (numeric ? a.number - b.number : a.text.localeCompare(b.text, undefined, { numeric: true }));
  });
  return items.flatMap((item) => item.group);
}

for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0];
  if (!table.tHead || !body) continue;
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent.trim()) button.setAttribute("aria-label", `column ${column + 1}`);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = ORDERS[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      body.append(...sorted(original, column, order));
    });
  });
}

for (const block of document.querySelectorAll("main pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(block);
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  block.after(button);
}
