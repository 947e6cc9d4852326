// One map with its words, the keys that move about in it, and the table behind it.

import { inFigures, inWords, strongestKeys, strongestQueries, weightAt } from "./data.js";
import { element, fillTable, heading } from "./dom.js";
import { WeightMap } from "./map.js";

const STEP = 10;
const MOVES = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
  PageUp: [-STEP, 0], PageDown: [STEP, 0], Home: [0, -Infinity], End: [0, Infinity],
};
const MOST_ROWS = 500; // of the table, which a browser has to hold as elements

export const NOTHING = { query: null, key: null };

/** Where a key moves a cell, as {query, key}; null if the key does not move. */
export function moved(event, record, focused) {
  if (!(event.key in MOVES) || event.altKey || event.metaKey) return null;
  event.preventDefault();
  let [down, right] = MOVES[event.key];
  if (event.ctrlKey && Math.abs(right) === Infinity) down = right;
  const far = event.shiftKey && event.key.startsWith("Arrow") ? STEP : 1;
  const { query, key } = focused ?? { query: 0, key: record.order[0] };
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  const column = within(record.order.indexOf(key) + right * far, record.order.length);
  return { query: within(query + down * far, record.queries.length), key: record.order[column] };
}

export class Figure {
  constructor(page) {
    this.page = page;
    this.find = page.find;
    this.grid = page.find("grid");
    this.hover = NOTHING;
    this.grid.addEventListener("pointermove", (event) => this.point(this.map.under(event)));
    this.grid.addEventListener("pointerleave", () => this.point(NOTHING));
    this.grid.addEventListener("click", (event) => this.click(this.map.under(event)));
    this.grid.addEventListener("keydown", (event) => this.press(event));
    this.grid.addEventListener("focus", () => this.enter());
    this.find("twin").addEventListener("toggle", () => this.fillTable());
  }

  /** Builds the map of a record, which holds the weights to be shown. */
  show(record) {
    this.record = record;
    this.hover = NOTHING;
    this.find("figure").hidden = false;
    this.find("gold").hidden = record.sure.length + record.possible.length === 0;
    this.find("copied").hidden = record.copied.length === 0;
    this.grid.setAttribute("aria-rowcount", record.queries.length);
    this.grid.setAttribute("aria-colcount", record.keys.length);
    this.map = new WeightMap(this.find("sheet"), record);
    this.fillTable();
    this.resize();
    const { focused } = this.page;
    if (focused) this.scrollTo(focused.query, this.map.columnOf[focused.key]);
  }

  resize() {
    this.map.layOut({ width: this.grid.clientWidth, height: window.innerHeight * 0.7 });
    this.recolour();
  }

  recolour() {
    this.map.paint(this.page.inks, this.page.shades);
    this.draw();
  }

  draw() {
    const lit = this.lit();
    this.map.show(lit, this.page.focused);
    this.page.panel.showPlace(this.record, lit);
  }

  /** What the pointer is at, else what is focused; the word of a focused cell stands for that cell. */
  lit() {
    const { hover } = this;
    const { focused } = this.page;
    if (hover.query === null && hover.key === null) return focused ?? NOTHING;
    const ofRow = hover.key === null && hover.query === focused?.query;
    const ofColumn = hover.query === null && hover.key === focused?.key;
    return ofRow || ofColumn ? focused : hover;
  }

  point(place) {
    if (place.query === this.hover.query && place.key === this.hover.key) return;
    this.hover = place;
    this.draw();
  }

  click({ query, key }) {
    if (query === null && key === null) return;
    const { record } = this;
    const partner = query === null ? strongestQueries(record, key, 1) : strongestKeys(record, query, 1);
    const best = partner.length ? partner[0][0] : 0;
    this.moveTo(query ?? best, key ?? best);
  }

  enter() {
    if (!this.page.focused && this.grid.matches(":focus-visible")) this.click({ query: 0, key: null });
  }

  press(event) {
    const place = moved(event, this.record, this.page.focused);
    if (place) this.moveTo(place.query, place.key);
  }

  moveTo(query, key) {
    this.hover = NOTHING;
    this.page.set({ query, key });
    const cell = this.find("cell");
    cell.textContent = inFigures(weightAt(this.record, query, key));
    cell.setAttribute("aria-rowindex", query + 1);
    cell.setAttribute("aria-colindex", this.map.columnOf[key] + 1);
    this.page.speak(inWords(this.record, query, key));
    this.scrollTo(query, this.map.columnOf[key]);
  }

  scrollTo(query, column) {
    const { cell, left, top } = this.map;
    const area = this.grid;
    const into = (at, size, from) => Math.min(Math.max(from, at + cell - size), at);
    area.scrollLeft = into(column * cell, area.clientWidth - left, area.scrollLeft);
    area.scrollTop = into(query * cell, area.clientHeight - top, area.scrollTop);
  }

  fillTable() {
    const { record } = this;
    const table = this.find("table");
    if (!this.find("twin").open) return table.replaceChildren();
    const shown = record.order.slice(0, MOST_ROWS);
    const head = [element("td"), ...shown.map((key) => heading("col", record.keys[key]))];
    const rows = record.queries.slice(0, MOST_ROWS).map((word, query) => {
      const cells = shown.map((key) => element("td", "", inFigures(weightAt(record, query, key))));
      return [heading("row", word), ...cells];
    });
    return fillTable(table, head, rows);
  }
}
