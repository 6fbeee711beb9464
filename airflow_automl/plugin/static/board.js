// The leaderboard: sort, filter, choose columns, turn pages, open a candidate in a drawer. The server sends every row;
// what was chosen holds while the rows are renewed.
"use strict";

const PAGE = 50;
const SHOWN = 6;
const chosen = { sort: null, down: false, filter: "", page: 0, hidden: null, picked: new Set() };
const board = () => document.querySelector("#live-board table.board");

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function button(text, attributes, act) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

const heads = (table) => [...table.tHead.rows[0].cells];
const sortable = (head) => !head.classList.contains("pick");

function value(row, column) {
  const text = row.cells[column].dataset.sort ?? "";
  return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
}

function compare(column, down) {
  return (a, b) => {
    const [left, right] = [value(a, column), value(b, column)];
    if (left === null || right === null) return (left === null) - (right === null);
    return (left < right ? -1 : left > right ? 1 : 0) * (down ? -1 : 1);
  };
}

function sortBy(column) {
  // The better end first: that is the upper one of a metric, unless less is better.
  const first = heads(board())[column].dataset.metric && !("lower" in heads(board())[column].dataset);
  chosen.down = chosen.sort === column ? !chosen.down : Boolean(first);
  chosen.sort = column;
  chosen.page = 0;
  apply();
  heads(board())[column].querySelector("button").focus();
}

function apply() {
  const table = board();
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  if (chosen.sort !== null) table.tBodies[0].append(...rows.sort(compare(chosen.sort, chosen.down)));
  const fits = rows.filter((row) => row.textContent.toLowerCase().includes(chosen.filter));
  const pages = Math.max(1, Math.ceil(fits.length / PAGE));
  chosen.page = Math.min(chosen.page, pages - 1);
  const shown = new Set(fits.slice(chosen.page * PAGE, (chosen.page + 1) * PAGE));
  for (const row of rows) row.hidden = !shown.has(row);
  heads(table).forEach((head, column) => {
    if (column === chosen.sort) head.setAttribute("aria-sort", chosen.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    for (const row of table.rows) row.cells[column].hidden = chosen.hidden.has(head.dataset.metric);
  });
  for (const box of document.querySelectorAll("#live-board input[name=candidate]")) box.checked = chosen.picked.has(box.value);
  pager(fits.length, rows.length, pages);
  picked();
}

function pager(fits, all, pages) {
  const turn = (by) => () => ((chosen.page += by), apply());
  const place = document.querySelector("[data-pages]");
  place.replaceChildren();
  document.querySelector("[data-count]").textContent =
    all === 1 ? "1 candidate." : `${fits === all ? all : `${fits} of ${all}`} candidates; choose two or more to compare.`;
  if (pages < 2) return;
  const [back, on] = [button("Back", { class: "button" }, turn(-1)), button("Next", { class: "button" }, turn(1))];
  back.disabled = chosen.page === 0;
  on.disabled = chosen.page === pages - 1;
  place.append(back, ` Page ${chosen.page + 1} of ${pages} `, on);
}

function picked() {
  const compare = document.querySelector("[data-compare]"); // one candidate has no such button
  if (compare) compare.disabled = chosen.picked.size < 2;
}

function tools(table) {
  const place = document.getElementById("board-tools");
  const metrics = heads(table).filter((head) => head.dataset.metric);
  chosen.hidden ??= new Set(metrics.slice(SHOWN).map((head) => head.dataset.metric));
  if (place.childElementCount && place.dataset.metrics === String(metrics.length)) return;
  place.dataset.metrics = metrics.length;
  const filter = element("input", { type: "search", placeholder: "name or algorithm", value: chosen.filter });
  filter.addEventListener("input", () => ((chosen.filter = filter.value.toLowerCase()), (chosen.page = 0), apply()));
  filter.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  const boxes = metrics.map((head) => {
    const box = element("input", { type: "checkbox" });
    box.checked = !chosen.hidden.has(head.dataset.metric);
    box.addEventListener("change", () => {
      chosen.hidden[box.checked ? "delete" : "add"](head.dataset.metric);
      apply();
    });
    return element("label", {}, box, ` ${head.textContent}`);
  });
  const columns = element("details", { class: "columns-menu" }, element("summary", {}, "Columns"), element("div", {}, ...boxes));
  place.replaceChildren(element("label", {}, "Filter ", filter), ...(boxes.length > 1 ? [columns] : []));
}

function enhance() {
  const table = board();
  if (!table) return;
  tools(table);
  heads(table).forEach((head, column) => {
    if (sortable(head) && !head.querySelector("button")) {
      const sort = button("", { class: "sort" }, () => sortBy(column));
      sort.append(...head.childNodes);
      head.append(sort);
    }
  });
  apply();
}

// One candidate, beside the board

async function openDrawer(link) {
  const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = page.querySelector("main");
  main.querySelector("nav")?.remove();
  const title = main.querySelector("h1");
  title.id = "drawer-title";
  const drawer = element("dialog", { class: "drawer", "aria-labelledby": "drawer-title" });
  drawer.append(button("Close", { class: "button close" }, () => drawer.close()), ...main.childNodes);
  drawer.addEventListener("close", () => drawer.remove());
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
  document.body.append(drawer);
  drawer.showModal();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-drawer]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openDrawer(link).catch(() => location.assign(link.href));
});
document.addEventListener("change", (event) => {
  if (event.target.name !== "candidate") return;
  chosen.picked[event.target.checked ? "add" : "delete"](event.target.value);
  picked();
});
document.addEventListener("renewed", enhance);
document.addEventListener("DOMContentLoaded", enhance);
