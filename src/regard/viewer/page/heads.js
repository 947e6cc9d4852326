// The heads: a small map of each, layer by layer or sorted by a statistic, and one of them large.

import { nameOf, withWeights } from "./data.js";
import { element, fillSelect, fillTable, heading } from "./dom.js";
import { figuresOf } from "./panel.js";

const GAP = 4;
const [SMALLEST, LARGEST, CAPTIONED] = [20, 96, 58];

export class HeadsView {
  name = "heads";
  label = "Heads";
  hint = "Each small map is one head: rows look, columns are looked at. Choose one to see it large.";

  constructor(page) {
    this.page = page;
    this.area = page.find("heads");
    this.buttons = [];
    this.area.addEventListener("keydown", (event) => this.press(event));
    page.find("sort").addEventListener("change", (event) => page.set({ sort: event.target.value }));
    page.find("pooling").addEventListener("change", (event) => page.set({ pooling: event.target.value }));
    page.find("head-twin").addEventListener("toggle", () => this.order && this.fillTables());
    page.find("back").addEventListener("click", () => page.close());
  }

  fills(record) {
    return Boolean(record.heads) && record.queries.length > 0 && record.keys.length > 0;
  }

  open() {
    const { page } = this;
    const { record, state } = page;
    if (state.open) {
      const index = page.chosen;
      if (record.maps[index]) page.showLarge(withWeights(record, record.maps[index]));
      else page.showLoading();
      page.find("opened").hidden = false;
      page.find("which").textContent = nameOf(record, index);
      return;
    }
    page.find("sorting").hidden = !Object.keys(record.heads.statistics).length;
    fillSelect(page.find("sort"), [["", "the model’s order"], ...Object.keys(record.heads.statistics).map((name) => [name, name.replaceAll("_", " ")])], state.sort);
    page.find("pooled").hidden = false;
    this.area.hidden = false;
    page.find("head-twin").hidden = !Object.keys(record.heads.statistics).length;
    this.build();
    this.fillTables();
    this.resize();
  }

  /** A button for each head, in the order asked for. */
  build() {
    const { record, state } = this.page;
    const numbers = record.heads.statistics[state.sort];
    this.order = record.maps.map((_, index) => index);
    if (numbers) this.order.sort((one, other) => numbers[other] - numbers[one] || one - other);
    this.buttons = record.maps.map((_, index) => {
      const button = element("button", "head", element("canvas"));
      const { across } = record.heads;
      if (numbers) button.append(element("span", "caption", `${Math.floor(index / across)}.${index % across} `, element("b", "", figuresOf(numbers[index]))));
      button.type = "button";
      button.setAttribute("aria-label", numbers ? `${nameOf(record, index)}: ${state.sort.replaceAll("_", " ")} ${figuresOf(numbers[index])}` : nameOf(record, index));
      button.addEventListener("click", () => this.choose(index, 1));
      button.addEventListener("focus", () => this.choose(index, 0));
      button.addEventListener("pointerenter", () => this.page.panel.showHead(record, index));
      button.addEventListener("pointerleave", () => this.page.panel.showHead(record, this.page.chosen));
      return button;
    });
    this.area.replaceChildren(...(numbers ? this.order.map((index) => this.buttons[index]) : this.table()));
    this.area.classList.toggle("sorted", Boolean(numbers));
    this.draw();
  }

  /** The buttons with the numbers of heads above and of layers beside them. */
  table() {
    const { layers, across } = this.page.record.heads;
    const mark = (text) => element("span", "mark", text);
    const top = [mark(""), ...Array.from({ length: across }, (_, head) => mark(`${head}`))];
    const rows = Array.from({ length: layers }, (_, layer) => [mark(`${layer}`), ...this.buttons.slice(layer * across, (layer + 1) * across)]);
    for (const one of [top, ...rows].flat()) if (one.className === "mark") one.setAttribute("aria-hidden", "true");
    return [...top, ...rows.flat()];
  }

  /** The numbers of each head, and their means of each layer, in the order asked for. */
  fillTables() {
    const { page } = this;
    const { record, state } = page;
    if (!page.find("head-twin").open) return;
    const { layers, across, statistics } = record.heads;
    const names = Object.keys(statistics);
    const mean = (numbers, layer) => numbers.slice(layer * across, (layer + 1) * across).reduce((sum, one) => sum + one, 0) / across;
    const ofLayers = Array.from({ length: layers }, (_, layer) => names.map((name) => mean(statistics[name], layer)));
    const place = names.indexOf(state.sort);
    const order = ofLayers.map((_, layer) => layer).sort((one, other) => (place < 0 ? 0 : ofLayers[other][place] - ofLayers[one][place]) || one - other);
    this.fillTable("head-table", "head", this.order.map((index) => [nameOf(record, index), names.map((name) => statistics[name][index])]));
    this.fillTable("layer-table", "layer, mean of its heads", order.map((layer) => [`layer ${layer}`, ofLayers[layer]]));
  }

  /** A row for each [name, numbers]; a head of a column sorts by it. */
  fillTable(part, what, rows) {
    const { page } = this;
    const sorters = Object.keys(page.record.heads.statistics).map((name) => {
      const button = element("button", "", name.replaceAll("_", " "));
      button.type = "button";
      button.addEventListener("click", () => page.set({ sort: name }));
      const cell = Object.assign(element("th", "", button), { scope: "col" });
      if (name === page.state.sort) cell.setAttribute("aria-sort", "descending");
      return cell;
    });
    const body = rows.map(([name, numbers]) => [heading("row", name), ...numbers.map((one) => element("td", "", figuresOf(one)))]);
    fillTable(page.find(part), [heading("col", what), ...sorters], body);
  }

  resize() {
    if (this.page.state.open) return;
    const { record, state } = this.page;
    const room = this.area.clientWidth;
    const fitting = Math.floor((room - 28) / record.heads.across) - GAP;
    this.size = Math.max(state.sort ? CAPTIONED : SMALLEST, Math.min(LARGEST, fitting));
    this.across = state.sort ? Math.max(1, Math.floor(room / (this.size + GAP))) : record.heads.across;
    this.area.style.gridTemplateColumns = state.sort ? `repeat(${this.across}, ${this.size}px)` : `1.5rem repeat(${this.across}, ${this.size}px)`;
    this.recolour();
  }

  recolour() {
    if (this.page.state.open) return;
    this.buttons.forEach((_, index) => this.paint(index));
  }

  /** Draws one small map, if it has come. */
  paint(index) {
    const { page, size } = this;
    const { record } = page;
    const best = page.state.pooling === "max" ? record.largests[index] ?? record.maps[index] : record.maps[index];
    const canvas = this.buttons[index].firstChild;
    const scale = size / Math.max(...record.shape);
    const [wide, high] = [Math.max(2, Math.round(record.shape[1] * scale)), Math.max(2, Math.round(record.shape[0] * scale))];
    const dots = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(wide * dots), Math.round(high * dots)];
    [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
    if (!best) return;
    const image = page.inks.thumbnail(best, record.columnOrder, Math.round(size * dots), page.state.pooling);
    const small = new OffscreenCanvas(image.width, image.height);
    small.getContext("2d").putImageData(image, 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  arrived(index) {
    if (this.page.state.open) {
      if (index === this.page.chosen) this.page.open();
    } else if (index !== null) this.paint(index);
  }

  draw() {
    const { page } = this;
    if (page.state.open) return page.large.draw();
    const reached = page.chosen ?? this.order[0];
    this.buttons.forEach((button, index) => {
      button.tabIndex = index === reached ? 0 : -1;
      button.classList.toggle("chosen", index === page.chosen);
    });
    page.panel.showNothing();
    page.panel.showHead(page.record, page.chosen);
  }

  choose(index, open) {
    const { across } = this.page.record.heads;
    this.page.set({ layer: Math.floor(index / across), head: index % across, open });
  }

  press(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.across, ArrowDown: this.across, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || event.altKey || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    const at = this.order.indexOf(this.page.chosen ?? this.order[0]) + moves[event.key];
    const place = Math.abs(at) === Infinity ? Math.min(Math.max(at, 0), this.order.length - 1) : at;
    this.buttons[this.order[place]]?.focus();
  }

  step(heads, layers) {
    this.page.step(heads, layers);
    if (!this.page.state.open) this.buttons[this.page.chosen].focus();
  }
}
