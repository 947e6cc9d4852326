// The map: words along both sides as text, weights as cells of a canvas, what is focused drawn over them.

import { goldOf, inFigures, strongestKeys, strongestQueries } from "./data.js";
import { element } from "./dom.js";

const SLANT = Math.SQRT1_2;
const LARGEST_CELL = 44;
const COMFORTABLE_CELL = 30;
const FAINTEST_LINE = 0.01;

export class WeightMap {
  /** Builds the map of one record inside `sheet`; `room` is what may be used, in CSS pixels. */
  constructor(sheet, record) {
    this.record = record;
    this.sheet = sheet;
    this.columnOf = [];
    record.order.forEach((key, column) => (this.columnOf[key] = column));
    this.canvas = element("canvas");
    this.canvas.className = "cells";
    this.base = element("canvas");
    this.rowLabels = record.queries.map((text, query) => label("row-label", text, record.quietQueries.includes(query)));
    this.keyLabels = record.keys.map((text, key) => label("column-label", text, record.quietKeys.includes(key)));
    record.copied.forEach((query) => this.rowLabels[query].classList.add("copied"));
    this.columns = element("div", "columns", element("div", "corner"), ...this.keyLabels);
    this.rows = element("div", "rows", ...this.rowLabels);
    sheet.replaceChildren(this.columns, element("div", "body", this.rows, this.canvas));
    sheet.classList.toggle("upright", record.upright);
  }

  /** Chooses the size of the cells and puts words and canvas in place. */
  layOut(room) {
    this.sheet.classList.remove("small");
    const font = this.measure(room);
    if (this.cell < 1.45 * font) this.sheet.classList.add("small");
    this.placeLabels(this.cell < 1.45 * font ? this.measure(room) : font);
  }

  measure(room) {
    const { queries, keys } = this.record;
    const font = parseFloat(getComputedStyle(this.sheet).fontSize);
    const left = Math.ceil(Math.max(0, ...this.rowLabels.map((one) => one.offsetWidth))) + 8;
    const lengths = this.keyLabels.map((one) => (this.record.upright ? 0 : one.offsetWidth * SLANT));
    const top = Math.ceil(this.record.upright ? 1.9 * font : Math.max(0, ...lengths) + font);
    const reach = (cell) => Math.max(0, ...lengths.map((w, key) => w + (this.columnOf[key] + 0.5) * cell));
    const wide = (room.width - left - Math.max(0, ...lengths) * 0.9) / Math.max(keys.length, 1);
    const high = (room.height - top) / Math.max(queries.length, 1);
    const count = Math.max(queries.length, keys.length);
    const least = count <= 100 ? font : Math.max(1, Math.min(3, 8000 / count));
    this.cell = Math.floor(Math.max(least, Math.min(LARGEST_CELL, wide, Math.max(high, COMFORTABLE_CELL))));
    this.left = left;
    this.top = top;
    this.width = keys.length * this.cell;
    this.height = queries.length * this.cell;
    this.sheet.style.width = `${left + Math.max(this.width, Math.ceil(reach(this.cell))) + 4}px`;
    this.columns.style.height = `${top}px`;
    this.columns.firstChild.style.width = `${left}px`;
    this.rows.style.width = `${left}px`;
    this.rows.style.height = `${this.height}px`;
    return font;
  }

  placeLabels(font) {
    const everyRow = Math.ceil((0.95 * font) / this.cell);
    const everyColumn = Math.ceil(((this.record.upright ? 0.6 : 1.2) * font) / this.cell);
    this.rowLabels.forEach((one, query) => {
      one.classList.toggle("thinned", query % everyRow > 0);
      one.style.top = `${(query + 0.5) * this.cell}px`;
    });
    this.keyLabels.forEach((one, key) => {
      one.classList.toggle("thinned", this.columnOf[key] % everyColumn > 0);
      one.style.left = `${this.left + (this.columnOf[key] + 0.5) * this.cell}px`;
    });
  }

  /** Draws all cells once, in `inks` and the page's own colours. */
  paint(inks, theme) {
    this.inks = inks;
    this.theme = theme;
    this.scale = Math.min(window.devicePixelRatio || 1, 8000 / Math.max(this.width, this.height, 1));
    for (const canvas of [this.canvas, this.base]) {
      canvas.width = Math.round(this.width * this.scale);
      canvas.height = Math.round(this.height * this.scale);
    }
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    const { record } = this;
    if (!this.width || !this.height) return;
    const pen = this.pen(this.base);
    pen.fillStyle = inks.css[0];
    pen.fillRect(0, 0, this.width, this.height);
    if (this.cell >= 12) this.paintGrid(pen);
    const cells = element("canvas");
    [cells.width, cells.height] = [record.keys.length, record.queries.length];
    cells.getContext("2d").putImageData(inks.image(record.weights, record.order), 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(cells, 0, 0, this.width, this.height);
    for (const [query, key] of record.possible) this.paintGold(pen, query, key);
    for (const [query, key] of record.sure) this.paintGold(pen, query, key);
    pen.strokeStyle = this.theme.line;
    pen.lineWidth = 1;
    pen.strokeRect(0.5, 0.5, this.width - 1, this.height - 1);
  }

  pen(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    return pen;
  }

  paintGrid(pen) {
    pen.fillStyle = this.theme.grid;
    for (let x = this.cell; x < this.width; x += this.cell) pen.fillRect(x - 0.5, 0, 1, this.height);
    for (let y = this.cell; y < this.height; y += this.cell) pen.fillRect(0, y - 0.5, this.width, 1);
  }

  paintGold(pen, query, key) {
    const { cell } = this;
    const [x, y] = [this.columnOf[key] * cell, query * cell];
    const width = Math.min(Math.max(cell / 14, 1), 2);
    const sure = goldOf(this.record, query, key) === "sure";
    for (const [colour, line] of [[this.inks.css[0], width + 1.6], [this.theme.gold, width]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.beginPath();
      if (sure) pen.rect(x + 2, y + 2, cell - 4, cell - 4);
      else pen.arc(x + cell / 2, y + cell / 2, cell * 0.4, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  /** Shows the map with one row, one column or both lit; `focused` is the cell that has the keyboard. */
  show(lit, focused) {
    if (!this.width || !this.height) return;
    const pen = this.pen(this.canvas);
    pen.clearRect(0, 0, this.width, this.height);
    pen.drawImage(this.base, 0, 0, this.width, this.height);
    const partners = this.partners(lit);
    if (lit.query !== null || lit.key !== null) {
      this.stepBack(pen, lit);
      this.drawLines(pen, lit, partners);
      this.drawBands(pen, lit);
    }
    if (focused) this.drawFocus(pen, focused);
    this.lightLabels(lit, partners);
  }

  partners({ query, key }) {
    const all = query !== null ? strongestKeys(this.record, query) : key !== null ? strongestQueries(this.record, key) : [];
    return all.filter(([, weight]) => weight >= Math.max(FAINTEST_LINE, this.inks.threshold));
  }

  stepBack(pen, { query, key }) {
    const { cell, width, height } = this;
    const x = key === null ? 0 : this.columnOf[key] * cell;
    const y = query === null ? 0 : query * cell;
    const [w, h] = [key === null ? 0 : cell, query === null ? 0 : cell];
    pen.fillStyle = this.theme.veil;
    if (query === null) {
      pen.fillRect(0, 0, x, height);
      pen.fillRect(x + w, 0, width - x - w, height);
    } else {
      for (const [top, bottom] of [[0, y], [y + h, height]]) {
        pen.fillRect(0, top, x, bottom - top);
        pen.fillRect(x + w, top, width - x - w, bottom - top);
      }
    }
  }

  drawBands(pen, { query, key }) {
    const { cell } = this;
    pen.strokeStyle = this.theme.accent;
    pen.globalAlpha = 0.5;
    pen.lineWidth = 1;
    if (query !== null) pen.strokeRect(0.5, query * cell + 0.5, this.width - 1, cell - 1);
    if (key !== null) pen.strokeRect(this.columnOf[key] * cell + 0.5, 0.5, cell - 1, this.height - 1);
    pen.globalAlpha = 1;
  }

  /** From the five strongest cells of the lit row up to their words, or of the lit column across; a lit column needs none. */
  drawLines(pen, { query, key }, partners) {
    const { cell } = this;
    pen.strokeStyle = this.theme.accent;
    for (const [partner, weight] of partners) {
      const [q, k] = query !== null ? [query, partner] : [partner, key];
      const [x, y] = [this.columnOf[k] * cell, q * cell];
      pen.lineWidth = Math.max(1, Math.min(7, cell) * weight);
      pen.beginPath();
      if (query === null) {
        pen.moveTo(x, y + cell / 2);
        pen.lineTo(0, y + cell / 2);
      } else if (k !== key) {
        pen.moveTo(x + cell / 2, y);
        pen.lineTo(x + cell / 2, 0);
      }
      pen.stroke();
      if (cell >= 28) this.drawNumber(pen, q, k, weight);
    }
  }

  drawNumber(pen, query, key, weight) {
    const { cell } = this;
    const [x, y] = [this.columnOf[key] * cell, query * cell];
    pen.fillStyle = this.inks.of(weight);
    pen.fillRect(x, y, cell, cell);
    if (goldOf(this.record, query, key)) this.paintGold(pen, query, key);
    const [red, green, blue] = this.inks.colours[this.inks.step(weight)];
    pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 118 ? "#000" : "#fff";
    pen.font = `600 ${Math.round(cell * 0.36)}px ${this.theme.face}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(inFigures(weight).replace(/^0/, ""), x + cell / 2, y + cell / 2 + 0.5);
  }

  drawFocus(pen, { query, key }) {
    const [x, y] = [this.columnOf[key] * this.cell, query * this.cell];
    for (const [colour, line, inset] of [[this.inks.css[0], 5, 1], [this.theme.accent, 2.5, 1]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.strokeRect(x + inset, y + inset, this.cell - 2 * inset, this.cell - 2 * inset);
    }
  }

  lightLabels({ query, key }, partners) {
    const active = query !== null || key !== null;
    const among = new Set(partners.map(([index]) => index));
    this.rowLabels.forEach((one, index) => light(one, active, index === query, query === null && among.has(index)));
    this.keyLabels.forEach((one, index) => light(one, active, index === key, query !== null && among.has(index)));
  }

  /** Which word or cell lies under a pointer event, as {query, key}; null where there is none. */
  under(event) {
    const { target } = event;
    const nothing = { query: null, key: null };
    if (target === this.canvas) {
      const area = this.canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - area.left) / this.cell);
      const query = Math.floor((event.clientY - area.top) / this.cell);
      const inside = column >= 0 && query >= 0 && column < this.record.order.length && query < this.record.queries.length;
      return inside ? { query, key: this.record.order[column] } : nothing;
    }
    const [query, key] = [this.rowLabels.indexOf(target), this.keyLabels.indexOf(target)];
    return { query: query < 0 ? null : query, key: key < 0 ? null : key };
  }
}

function light(one, active, lit, partner) {
  one.classList.toggle("lit", lit);
  one.classList.toggle("partner", partner && !lit);
  one.classList.toggle("back", active && !lit && !partner);
}

function label(kind, text, quiet) {
  const one = element("div", quiet ? `label ${kind} quiet` : `label ${kind}`);
  one.dir = "auto";
  one.textContent = text;
  return one;
}
