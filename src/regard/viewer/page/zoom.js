// A map of any length: panned and zoomed, each pixel the nearest weight, the pooled ones of a pixel their largest or mean.
//
// The seam for a live server: where a record holds means of rectangles, the page asks
//     root.regardTile({ record, head, rows: [from, to], columns: [from, to] })
// for the weights themselves, `root` being the element that the page was built in (document.body). `record` and `head`
// are numbers (`head` null for the mean of all), rows and columns token numbers, `to` not included. It may answer with
// a promise of { rows, columns, weights }, a Float32Array row by row of any size that covers that part, or with null.
// A page without a server has no such function and shows the rectangles that it has.

import { Weights, inFigures, largestWithin } from "./data.js";
import { element, fillTable, heading, spoken } from "./dom.js";
import { NOTHING } from "./figure.js";
import { LargeView } from "./large.js";
import { isWhole } from "./unpack.js";

export const MOST_LABELS = 1200; // tokens that are still set as one label each
const [LEFT, TOP] = [96, 64]; // px for the words
const WIDEST_TOKEN = 48;
const LINE = 14;
const MOST_STRONGEST = 12;
const WAIT = 120; // ms of rest before a tile is asked for

export class ZoomPane {
  constructor(page, root) {
    Object.assign(this, { page, root, area: page.find("zoom"), canvas: page.find("view"), fingers: new Map() });
    this.area.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.area.addEventListener("pointerdown", (event) => this.grab(event));
    this.area.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) this.area.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    this.area.addEventListener("pointerleave", () => this.tell(null));
    this.area.addEventListener("dblclick", (event) => this.zoomAt(event.offsetX, event.offsetY, 2));
    this.area.addEventListener("keydown", (event) => this.press(event));
    page.find("strongest-twin").addEventListener("toggle", () => this.record && this.fillStrongest());
  }

  show(record) {
    this.record = record;
    this.area.hidden = false;
    this.page.find("pooled").hidden = false;
    this.page.find("strongest-twin").hidden = false;
    this.page.find("copied").hidden = true;
    this.resize();
  }

  resize() {
    this.width = Math.max(this.area.clientWidth - LEFT, 100);
    this.height = Math.max(Math.min(this.width, window.innerHeight * 0.75) - TOP, 100);
    const dots = window.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.round((LEFT + this.width) * dots), Math.round((TOP + this.height) * dots)];
    [this.canvas.style.width, this.canvas.style.height] = [`${LEFT + this.width}px`, `${TOP + this.height}px`];
    this.dots = dots;
    this.recolour();
  }

  /** Paints the map once, and smaller copies of it, each pixel of which pools four. */
  recolour() {
    const { page, record } = this;
    const { pooling } = page.state;
    const largest = page.chosen === null ? record.largest : record.largests[page.chosen];
    const weights = (pooling === "max" && largest) || record.weights;
    this.levels = [{ weights, pixels: this.paintOf(weights, record.columnOrder) }];
    for (let one = weights; Math.max(one.rows, one.columns) > 64; ) {
      one = halved(one, pooling, one === weights ? record.columnOrder : null);
      this.levels.push({ weights: one, pixels: this.paintOf(one, null) });
    }
    this.tile = null;
    this.draw();
  }

  paintOf(weights, order) {
    return new Uint32Array(this.page.inks.image(weights, order).data.buffer);
  }

  /** What is seen: the first column and row, in tokens, and how many tokens lie side by side. */
  get box() {
    const { record } = this;
    const whole = Math.max(record.keys.length, (record.queries.length * this.width) / this.height);
    const asked = this.page.state.box?.split(",").map(Number);
    return asked ? { x: asked[0], y: asked[1], span: Math.min(Math.max(asked[2], this.width / WIDEST_TOKEN), whole) } : { x: 0, y: 0, span: whole };
  }

  move({ x, y, span }) {
    const { record } = this;
    const whole = Math.max(record.keys.length, (record.queries.length * this.width) / this.height);
    if (span >= whole) return this.page.set({ box: null });
    const within = (from, seen, count) => Math.max(0, Math.min(from, count - seen));
    const near = [within(x, span, record.keys.length), within(y, (span * this.height) / this.width, record.queries.length), Math.max(span, this.width / WIDEST_TOKEN)];
    this.page.set({ box: near.map((number) => Number(number.toFixed(2))).join(",") });
  }

  zoomAt(left, top, factor) {
    const { x, y, span } = this.box;
    const [across, down] = [(left - LEFT) / this.width, (top - TOP) / this.width];
    const narrower = Math.max(span / factor, this.width / WIDEST_TOKEN);
    this.move({ x: x + across * (span - narrower), y: y + down * (span - narrower), span: narrower });
  }

  /** Zooms out one step; false if all is seen already. */
  out() {
    if (!this.page.state.box) return false;
    this.zoomAt(LEFT + this.width / 2, TOP + this.height / 2, 0.5);
    return true;
  }

  seek(side, index) {
    const { x, y } = this.box;
    const span = Math.min(this.box.span, 60);
    const half = side === "key" ? span / 2 : (span * this.height) / this.width / 2;
    const place = side === "key" ? { x: this.columnOf(index) - half, y: this.record.same ? index - half : y } : { x, y: index - half };
    this.move({ ...place, span });
    this.speak();
  }

  columnOf(key) {
    return this.record.columnOrder ? this.record.columnOrder.indexOf(key) : key;
  }

  wheel(event) {
    event.preventDefault();
    const area = this.canvas.getBoundingClientRect();
    this.zoomAt(event.clientX - area.left, event.clientY - area.top, Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)));
  }

  grab(event) {
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    this.area.setPointerCapture(event.pointerId);
  }

  /** One finger pans; two pinch about the middle between them. */
  drag(event) {
    const before = this.fingers.get(event.pointerId);
    const area = this.canvas.getBoundingClientRect();
    if (!before) return this.tell({ left: event.clientX - area.left, top: event.clientY - area.top });
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    const now = [event.clientX, event.clientY];
    this.fingers.set(event.pointerId, now);
    const { x, y, span } = this.box;
    if (!other) return this.move({ x: x - ((now[0] - before[0]) * span) / this.width, y: y - ((now[1] - before[1]) * span) / this.width, span });
    const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    return this.zoomAt((now[0] + other[0]) / 2 - area.left, (now[1] + other[1]) / 2 - area.top, apart(now) / apart(before));
  }

  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { x, y, span } = this.box;
    const step = span * (event.shiftKey ? 0.5 : 0.1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const factor = { "+": 2, "=": 2, "-": 0.5, "−": 0.5 }[event.key];
    if (event.key in moves) this.move({ x: x + moves[event.key][0], y: y + moves[event.key][1], span });
    else if (factor) this.zoomAt(LEFT + this.width / 2, TOP + this.height / 2, factor);
    else if (event.key === "0") this.page.set({ box: null });
    else return;
    event.preventDefault();
    this.speak();
  }

  speak() {
    const at = this.rectangleAt({ left: LEFT + this.width / 2, top: TOP + this.height / 2 });
    if (at) this.page.speak(`In the middle: ${at.from} looks at ${at.to} with ${at.figures}`);
  }

  draw() {
    const { canvas, dots } = this;
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const [left, top] = [Math.round(LEFT * dots), Math.round(TOP * dots)];
    pen.putImageData(this.raster(canvas.width - left, canvas.height - top), left, top);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    this.drawTile(pen);
    this.drawWords(pen);
    this.askForTile();
    this.fillStrongest();
    this.page.panel.showPlace(this.record, NOTHING);
  }

  /** The part that is seen, each pixel the nearest weight of the copy that is just fine enough. */
  raster(wide, high) {
    const { record, box } = this;
    const image = new ImageData(wide, high);
    const out = new Uint32Array(image.data.buffer);
    const { pooled, keys, queries } = record;
    const each = box.span / (this.width * this.dots); // tokens a pixel
    const level = Math.min(Math.max(0, Math.ceil(Math.log2(each / Math.min(...pooled)) - 0.01)), this.levels.length - 1);
    const { weights, pixels } = this.levels[level];
    const [rows, columns] = [pooled[0] * 2 ** level, pooled[1] * 2 ** level];
    const paper = this.page.inks.pixels[0];
    const across = Int32Array.from({ length: wide }, (_, px) => {
      const token = box.x + (px + 0.5) * each;
      return token < keys.length ? Math.min(Math.floor(token / columns), weights.columns - 1) : -1;
    });
    for (let py = 0; py < high; py += 1) {
      const token = box.y + (py + 0.5) * each;
      if (token >= queries.length) break;
      const from = Math.min(Math.floor(token / rows), weights.rows - 1) * weights.columns;
      for (let px = 0; px < wide; px += 1) if (across[px] >= 0) out[py * wide + px] = pixels[from + across[px]] || paper;
    }
    return image;
  }

  /** Words along both sides, as many as there is room for. */
  drawWords(pen) {
    const { record, box, width, height } = this;
    const each = width / box.span;
    const every = Math.max(1, Math.ceil(LINE / each));
    const { shades } = this.page;
    Object.assign(pen, { fillStyle: shades.ink, strokeStyle: shades.line, font: `12px ${shades.face}`, textBaseline: "middle", textAlign: "right" });
    const seen = [Math.min(record.keys.length - box.x, box.span) * each, Math.min((record.queries.length - box.y) * each, height)];
    pen.strokeRect(LEFT + 0.5, TOP + 0.5, seen[0] - 1, seen[1] - 1);
    for (let row = Math.ceil(box.y / every) * every; row < record.queries.length; row += every) {
      const y = TOP + (row + 0.5 - box.y) * each;
      if (y > TOP + height) break;
      if (y >= TOP) pen.fillText(record.queries[row], LEFT - 8, y, LEFT - 12);
    }
    pen.textAlign = "left";
    for (let column = Math.ceil(box.x / every) * every; column < record.keys.length; column += every) {
      const x = LEFT + (column + 0.5 - box.x) * each;
      if (x > LEFT + width) break;
      pen.save();
      pen.translate(x, TOP - 6);
      pen.rotate(-Math.PI / 4);
      pen.fillText(record.keys[record.columnOrder ? record.columnOrder[column] : column], 0, 0, TOP * 1.2);
      pen.restore();
    }
  }

  /** The rectangle at a point of the canvas, in words; null outside. */
  rectangleAt({ left, top }) {
    const { record, box } = this;
    const each = box.span / this.width;
    const [column, row] = [Math.floor(box.x + (left - LEFT) * each), Math.floor(box.y + (top - TOP) * each)];
    if (left < LEFT || top < TOP || column >= record.keys.length || row >= record.queries.length) return null;
    return this.named(row, column);
  }

  /** The rectangle of a token and a column, in words. */
  named(row, column) {
    const { record } = this;
    const key = record.columnOrder ? record.columnOrder[column] : column;
    if (isWhole(record)) return { query: row, key, from: `“${record.queries[row]}”`, to: `“${record.keys[key]}”`, figures: inFigures(record.weights.at(row, key)) };
    const [down, across] = [Math.floor(row / record.pooled[0]), Math.floor(column / record.pooled[1])];
    const range = (words, first, size) => `“${words[first * size]}” … “${words[Math.min((first + 1) * size, words.length) - 1]}”`;
    const largest = this.page.chosen === null ? record.largest : record.largests[this.page.chosen];
    const mean = record.weights.at(down, across);
    return {
      from: range(record.queries, down, record.pooled[0]),
      to: range(record.keys, across, record.pooled[1]),
      figures: `a mean of ${mean > 0 && mean < 0.005 ? mean.toExponential(0) : inFigures(mean)}${largest ? `, at most ${inFigures(largest.at(down, across))}` : ""}`,
    };
  }

  /** The largest weights of what is seen as a table, for those who cannot see the map, and for copying. */
  fillStrongest() {
    const { record, box, page } = this;
    if (!page.find("strongest-twin").open) return;
    const [{ weights }] = this.levels;
    const [rows, columns] = record.pooled;
    const within = (from, size, each, count) => [Math.floor(from / each), Math.min(Math.ceil((from + size) / each), count)];
    const seen = [within(box.y, (box.span * this.height) / this.width, rows, weights.rows), within(box.x, box.span, columns, weights.columns)];
    const head = ["output", "input", "weight"].map((name) => heading("col", name));
    const found = largestWithin(weights, record.columnOrder, ...seen, MOST_STRONGEST).map(([row, column]) => {
      const { from, to, figures } = this.named(row * rows, column * columns);
      return [spoken(from), spoken(to), figures].map((one) => element("td", "", one));
    });
    fillTable(page.find("strongest"), head, found);
  }

  tell(point) {
    const { panel } = this.page;
    const at = point && this.rectangleAt(point);
    if (!at) return panel.showPlace(this.record, NOTHING);
    if (isWhole(this.record)) return panel.showPlace(this.record, at);
    this.page.find("hint").hidden = true;
    this.page.find("answer").hidden = false;
    panel.showNumber("", at.from, at.to);
    this.page.find("rank").textContent = `${at.figures} in ${this.record.pooled.join(" × ")} weights`;
    this.page.find("link").textContent = "";
    return undefined;
  }

  /** Asks a live server, if there is one, for the weights behind the rectangles that are seen. */
  askForTile() {
    clearTimeout(this.waiting);
    const { record, box, page } = this;
    const each = this.width / box.span;
    if (!this.root.regardTile || isWhole(record) || each * Math.min(...record.pooled) < 4) return;
    const within = (from, size, count) => [Math.max(0, Math.floor(from)), Math.min(count, Math.ceil(from + size))];
    const asked = { record: page.state.record, head: page.chosen };
    asked.rows = within(box.y, this.height / each, record.queries.length);
    asked.columns = within(box.x, box.span, record.keys.length);
    const name = JSON.stringify(asked);
    if (this.tile?.name === name) return;
    this.waiting = setTimeout(async () => {
      const tile = await this.root.regardTile(asked);
      if (!tile || record !== this.record || asked.head !== page.chosen) return;
      const weights = new Weights(tile.rows, tile.columns, tile.weights);
      const image = new OffscreenCanvas(tile.columns, tile.rows);
      image.getContext("2d").putImageData(page.inks.image(weights, null), 0, 0);
      this.tile = { ...asked, name, image };
      this.draw();
    }, WAIT);
  }

  drawTile(pen) {
    if (!this.tile) return;
    const { box, tile } = this;
    const each = this.width / box.span;
    const [[top, bottom], [left, right]] = [tile.rows, tile.columns];
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, TOP, this.width, this.height);
    pen.clip();
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = this.page.inks.css[0];
    const place = [LEFT + (left - box.x) * each, TOP + (top - box.y) * each, (right - left) * each, (bottom - top) * each];
    pen.fillRect(...place);
    pen.drawImage(tile.image, ...place);
    pen.restore();
  }
}

/** A map of half the size: of each four weights the largest, or the mean. */
function halved(weights, pooling, order) {
  const { rows, columns } = weights;
  const [high, wide] = [Math.ceil(rows / 2), Math.ceil(columns / 2)];
  const half = new Float32Array(high * wide);
  for (let row = 0; row < high; row += 1) {
    for (let column = 0; column < wide; column += 1) {
      let [largest, sum, count] = [0, 0, 0];
      for (let down = 2 * row; down < Math.min(2 * row + 2, rows); down += 1) {
        for (let across = 2 * column; across < Math.min(2 * column + 2, columns); across += 1) {
          const weight = weights.at(down, order ? order[across] : across);
          if (weight > largest) largest = weight;
          sum += weight;
          count += 1;
        }
      }
      half[row * wide + column] = pooling === "max" ? largest : sum / count;
    }
  }
  return new Weights(high, wide, half);
}

export class ZoomView extends LargeView {
  name = "zoom";
  label = "Zoom";
  hint = "Wheel or pinch zooms about the pointer, dragging moves the map, a double click goes in, Escape goes out.";
  showsOneMap = true;

  fills(record) {
    return record.queries.length > 0 && record.keys.length > 0;
  }

  open() {
    const { page } = this;
    page.offerMaps();
    if (!page.shown) return page.showLoading();
    page.large = page.zoom;
    page.zoom.show(page.shown);
  }

  arrived(index) {
    if (!this.page.large && this.page.shown) this.page.open();
    else if (this.page.large && index === this.page.chosen) this.page.large.recolour(); // its maxima have come
  }
}
