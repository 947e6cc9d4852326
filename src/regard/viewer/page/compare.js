// Two maps of the same words beside each other, and their difference: two models, checkpoints, layers or heads.

import { Weights, inFigures, largestWithin, nameOf, withWeights } from "./data.js";
import { element, fillSelect, fillTable, spoken } from "./dom.js";
import { NOTHING, moved } from "./figure.js";
import { Inks } from "./scale.js";
import { isWhole } from "./unpack.js";

const MOST_DIFFERENCES = 10;
const WIDEST_CELL = 30;
const SMALLEST_WITH_WORDS = 12;
const LONGEST_WORD = 110; // px
const NO_WORDS = { left: 0, top: 0, right: 0 };

export class CompareView {
  name = "compare";
  label = "Compare";
  hint = "Two maps of the same words, and the second less the first. Point at a cell, or move to one with the arrow keys.";

  constructor(page) {
    this.page = page;
    this.area = page.find("compare");
    this.panes = ["first", "second", "difference"].map((name) => page.find(name));
    this.hover = null;
    for (const name of ["left", "right"]) page.find(name).addEventListener("change", ({ target }) => page.set({ [name]: target.value }));
    for (const pane of this.panes) {
      pane.addEventListener("pointermove", (event) => this.point(event));
      pane.addEventListener("pointerleave", () => this.show(null));
      pane.addEventListener("click", (event) => this.focus(this.under(event)));
    }
    this.area.addEventListener("keydown", (event) => {
      if (event.target.closest("select, button")) return;
      const place = moved(event, this.page.record, this.page.focused);
      if (place) this.focus(place);
    });
  }

  /** The records whose maps have the same words as this one's. */
  partners(record) {
    const same = (one, other) => one.length === other.length && one.every((word, index) => word === other[index]);
    return this.page.records.filter((one) => isWhole(one) && same(one.queries, record.queries) && same(one.keys, record.keys));
  }

  fills(record) {
    if (!isWhole(record) || !record.queries.length || !record.keys.length) return false;
    return Boolean(record.heads) || this.partners(record).length > 1;
  }

  /** What can be compared: of each record the mean, each layer and each head, as [address, name]. */
  choices(record) {
    return this.partners(record).map((one) => {
      const at = this.page.records.indexOf(one);
      const { layers, across } = one.heads ?? { layers: 0, across: 0 };
      const ofLayers = across > 1 ? Array.from({ length: layers }, (_, layer) => [`${at}.${layer}`, `layer ${layer}, mean`]) : [];
      const ofHeads = one.maps.map((_, index) => [`${at}.${Math.floor(index / across)}.${index % across}`, nameOf(one, index)]);
      return [one.title || `record ${at + 1}`, [[`${at}`, nameOf(one, null)], ...ofLayers, ...ofHeads]];
    });
  }

  open() {
    const { page } = this;
    const { record, state } = page;
    const groups = this.choices(record);
    const known = groups.flatMap(([, choices]) => choices.map(([value]) => value));
    const own = `${page.records.indexOf(record)}`;
    const other = known.find((value) => !value.includes(".") && value !== own) ?? known.find((value) => value.split(".").length === 3);
    this.left = known.includes(state.left) ? state.left : own;
    this.right = known.includes(state.right) ? state.right : other;
    fillSelect(page.find("left"), groups, this.left);
    fillSelect(page.find("right"), groups, this.right);
    page.find("comparing").hidden = false;
    const needed = this.partners(record).filter((one) => !one.weights || one.maps.some((map) => !map));
    needed.forEach((one) => page.unpack(one));
    this.maps = [this.mapAt(this.left), this.mapAt(this.right)];
    if (this.maps.some((map) => !map)) return page.showLoading();
    page.find("loading").hidden = true;
    const { rows, columns } = this.maps[0];
    const difference = Float32Array.from({ length: rows * columns }, (_, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns];
      return this.maps[1].at(row, column) - this.maps[0].at(row, column);
    });
    this.difference = new Weights(rows, columns, difference);
    this.area.hidden = false;
    this.fillTable();
    return this.resize();
  }

  /** The map at an address; the mean over heads of a layer; null while any of it has not come. */
  mapAt(address) {
    const [at, layer, head] = address.split(".").map(Number);
    const record = this.page.records[at];
    if (layer === undefined) return record.weights;
    const { across } = record.heads;
    if (head !== undefined) return record.maps[layer * across + head];
    const maps = record.maps.slice(layer * across, (layer + 1) * across);
    if (maps.some((map) => !map)) return null;
    const [rows, columns] = record.shape;
    return new Weights(rows, columns, Float32Array.from({ length: rows * columns }, (_, index) =>
      maps.reduce((sum, map) => sum + map.at(Math.floor(index / columns), index % columns), 0) / across));
  }

  resize() {
    if (this.area.hidden) return;
    const { rows, columns } = this.difference;
    const room = (taken) => Math.min((this.area.clientWidth - 34 - taken) / 3 / columns, 480 / Math.max(rows, columns), WIDEST_CELL);
    const fits = room(0) >= SMALLEST_WITH_WORDS;
    const words = fits ? this.wordsBeside() : NO_WORDS;
    const cell = Math.floor(room(words.left + 3 * words.right));
    this.words = cell >= SMALLEST_WITH_WORDS ? words : NO_WORDS;
    this.each = this.words === NO_WORDS ? room(0) : cell;
    this.recolour();
  }

  /** The room that words take left of the first map, above each, and where they lean over its right edge. */
  wordsBeside() {
    const { page } = this;
    const pen = this.panes[0].getContext("2d");
    pen.font = fontOf(page);
    const longest = (words) => Math.min(words.reduce((most, word) => Math.max(most, pen.measureText(word).width), 0), LONGEST_WORD);
    const slanted = Math.ceil((longest(page.record.keys) + 8) * Math.SQRT1_2);
    return { left: Math.ceil(longest(page.record.queries)) + 8, top: slanted + 6, right: slanted - 4 };
  }

  recolour() {
    if (this.area.hidden) return;
    const { page } = this;
    const { difference } = this;
    const most = difference.values.reduce((one, other) => Math.max(one, Math.abs(other)), 0) || 1;
    page.find("most").textContent = `−${inFigures(most)}`;
    page.find("least-of-all").textContent = `+${inFigures(most)}`;
    const signed = new Inks(page.diverging);
    page.find("signed").style.background = signed.gradient;
    const shifted = new Weights(difference.rows, difference.columns, difference.values.map((one) => (one / most + 1) / 2));
    const images = [...this.maps.map((map) => page.inks.image(map, page.record.columnOrder)), signed.image(shifted, page.record.columnOrder)];
    this.images = images.map((image) => {
      const small = new OffscreenCanvas(image.width, image.height);
      small.getContext("2d").putImageData(image, 0, 0);
      return small;
    });
    this.draw();
  }

  draw() {
    if (this.area.hidden) return;
    const place = this.hover ?? this.page.focused;
    const dots = window.devicePixelRatio || 1;
    const { each, words } = this;
    const [wide, high] = [this.difference.columns * each, this.difference.rows * each];
    this.panes.forEach((canvas, index) => {
      const left = index ? 0 : words.left;
      const size = [left + wide + words.right, words.top + high];
      [canvas.width, canvas.height] = size.map((one) => Math.round(one * dots));
      [canvas.style.width, canvas.style.height] = size.map((one) => `${one}px`);
      const pen = canvas.getContext("2d");
      pen.setTransform(dots, 0, 0, dots, left * dots, words.top * dots);
      pen.fillStyle = this.page.inks.css[0];
      pen.fillRect(0, 0, wide, high);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(this.images[index], 0, 0, wide, high);
      pen.strokeStyle = this.page.shades.line;
      pen.strokeRect(0.5, 0.5, wide - 1, high - 1);
      if (words.top) this.drawWords(pen, place, index === 0);
      if (!place) return;
      pen.strokeStyle = this.page.shades.accent;
      pen.lineWidth = 2;
      pen.strokeRect(this.columnOf(place.key) * each, place.query * each, Math.max(each, 3), Math.max(each, 3));
    });
    this.tell(place);
  }

  /** Words above a map, and left of the first; those of the cell in question stand out. */
  drawWords(pen, place, beside) {
    const { page, each } = this;
    const { keys, queries } = page.record;
    const ink = (lit) => (pen.fillStyle = lit ? page.shades.accent : page.shades.ink);
    Object.assign(pen, { font: fontOf(page), textBaseline: "middle", textAlign: "left" });
    keys.forEach((word, key) => {
      pen.save();
      pen.translate((this.columnOf(key) + 0.5) * each, -6);
      pen.rotate(-Math.PI / 4);
      ink(key === place?.key);
      pen.fillText(shortened(pen, word), 0, 0);
      pen.restore();
    });
    pen.textAlign = "right";
    if (beside) queries.forEach((word, query) => {
      ink(query === place?.query);
      pen.fillText(shortened(pen, word), -6, (query + 0.5) * each);
    });
  }

  columnOf(key) {
    return this.page.record.columnOrder ? this.page.record.columnOrder.indexOf(key) : key;
  }

  under(event) {
    const left = event.currentTarget === this.panes[0] ? this.words.left : 0;
    const at = (offset, count) => Math.min(Math.max(Math.floor(offset / this.each), 0), count - 1);
    const column = at(event.offsetX - left, this.difference.columns);
    const query = at(event.offsetY - this.words.top, this.difference.rows);
    return { query, key: this.page.record.columnOrder ? this.page.record.columnOrder[column] : column };
  }

  point(event) {
    this.show(this.under(event));
  }

  show(place) {
    this.hover = place;
    this.draw();
  }

  focus({ query, key }) {
    this.hover = null;
    this.page.set({ query, key });
    const { record } = this.page;
    this.page.speak(`“${record.queries[query]}” looks at “${record.keys[key]}” ${this.inWords(query, key)}`);
  }

  inWords(query, key) {
    const [left, right] = this.maps.map((map) => inFigures(map.at(query, key)));
    return `with ${left} in the first and ${right} in the second`;
  }

  tell(place) {
    const { page } = this;
    page.panel.showPlace(withWeights(page.record, this.maps[0]), NOTHING);
    if (!place) return;
    page.find("hint").hidden = true;
    page.find("answer").hidden = false;
    page.panel.showNumber(signedFigures(this.difference.at(place.query, place.key)), page.record.queries[place.query], page.record.keys[place.key]);
    page.find("rank").textContent = this.inWords(place.query, place.key);
    page.find("link").textContent = "";
  }

  /** The largest differences as a table, for those who cannot see the maps. */
  fillTable() {
    const { record } = this.page;
    const { rows, columns, values } = this.difference;
    const sizes = new Weights(rows, columns, values.map(Math.abs));
    const head = ["output", "input", "first", "second", "difference"].map((name) => Object.assign(element("th", "", name), { scope: "col" }));
    const found = largestWithin(sizes, null, [0, rows], [0, columns], MOST_DIFFERENCES).map(([query, key]) => {
      const numbers = [...this.maps.map((map) => inFigures(map.at(query, key))), signedFigures(this.difference.at(query, key))];
      return [spoken(record.queries[query]), spoken(record.keys[key]), ...numbers].map((one) => element("td", "", one));
    });
    fillTable(this.page.find("differences"), head, found);
  }

  arrived() {
    if (this.area.hidden && this.mapAt(this.left) && this.mapAt(this.right)) this.page.open();
  }
}

function fontOf(page) {
  return `12px ${page.shades.face}`;
}

/** A word that takes no more room than there is. */
function shortened(pen, word) {
  const letters = [...word];
  if (pen.measureText(word).width <= LONGEST_WORD) return word;
  while (letters.length && pen.measureText(`${letters.join("")}…`).width > LONGEST_WORD) letters.pop();
  return `${letters.join("")}…`;
}

function signedFigures(number) {
  const figures = Math.abs(number).toFixed(2);
  return figures === "0.00" ? figures : `${number < 0 ? "−" : "+"}${figures}`;
}
