// The tokens: the text itself; a token shows where it looks and who looks at it, over all heads.

import { inFigures, nameOf, strongestKeys, strongestQueries } from "./data.js";
import { element, spoken } from "./dom.js";
import { NOTHING } from "./figure.js";

const STRONGEST = 5;
const WIDEST_LINE = 8;
const MOST_TOKENS = 5000;
const SPACE = "␣"; // what stands for a space at an end

export class TokensView {
  name = "tokens";
  label = "Tokens";
  hint = "Point at a token, or move to one with the arrow keys: full lines lead to where it looks, dashed ones come from those that look at it.";
  showsOneMap = true;

  constructor(page) {
    this.page = page;
    this.area = page.find("tokens");
    this.flows = page.find("flows");
    this.strips = page.find("strips");
    this.lines = page.find("lines");
    this.hover = NOTHING;
    const place = ({ target }) => (target.dataset.index ? { ...NOTHING, [target.dataset.side]: Number(target.dataset.index) } : NOTHING);
    // Two views show the same texts; the one that is open hears.
    const hear = (kind, act) => this.flows.addEventListener(kind, (event) => this.page.view === this && act(event));
    hear("pointerover", (event) => this.point(place(event)));
    hear("pointerleave", () => this.point(NOTHING));
    hear("click", (event) => {
      if (event.target.dataset.index) this.seek(event.target.dataset.side, Number(event.target.dataset.index));
    });
    hear("keydown", (event) => this.press(event));
  }

  fills(record) {
    const size = Math.max(record.queries.length, record.keys.length);
    return record.pooled[0] === 1 && record.pooled[1] === 1 && size <= MOST_TOKENS && record.queries.length > 0 && record.keys.length > 0;
  }

  open() {
    const { page } = this;
    page.offerMaps();
    if (!page.shown) return page.showLoading();
    this.area.hidden = false;
    if (this.record !== page.record || !this.flows.contains(this.spans.query[0])) this.build();
    this.draw();
  }

  /** The texts, a span for each token: one text where the words look at each other, else output and input. */
  build() {
    const { record } = this.page;
    this.record = record;
    this.hover = NOTHING;
    const flow = (side, words, quiet, name) => {
      const spans = words.map((word, index) => {
        const own = record.gaps && word.length > 1 && word.startsWith(SPACE) ? word.slice(1) : word;
        const one = element("span", quiet.includes(index) ? "token quiet" : "token", own);
        one.id = `${side}-${index}`;
        one.role = "option";
        [one.dataset.side, one.dataset.index] = [side, index];
        return one;
      });
      const close = words.every((word) => [...word].length <= 1);
      const apart = (index) => index && (record.gaps ? record.gaps[side][index] : !close);
      const box = element("div", "flow", ...spans.flatMap((one, index) => (apart(index) ? [" ", one] : [one])));
      Object.assign(box, { dir: "auto", role: "listbox", tabIndex: 0, ariaLabel: name });
      box.dataset.side = side;
      box.addEventListener("focus", () => box.matches(":focus-visible") && this.state()[side] === null && this.seek(side, 0));
      this.spans[side] = spans;
      return [element("p", "note", name), box];
    };
    this.spans = { query: [], key: [] };
    const boxes = record.same
      ? flow("query", record.queries, record.quietQueries, "the text")
      : [...flow("query", record.queries, record.quietQueries, "output"), ...flow("key", record.keys, record.quietKeys, "input")];
    if (record.same) this.spans.key = this.spans.query;
    this.flows.replaceChildren(...boxes, this.lines);
  }

  resize() {
    this.draw();
  }

  recolour() {
    this.draw();
  }

  arrived(index) {
    if (this.area.hidden) return this.page.shown && this.page.open();
    if (index !== null && !this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        if (!this.area.hidden) this.fillStrips(this.state());
      });
    }
  }

  /** The token that is pointed at, else the focused one. */
  state() {
    const { query, key } = this.page.state;
    if (this.hover.query !== null || this.hover.key !== null) return this.hover;
    return query !== null ? { query, key: null } : { query, key };
  }

  point(place) {
    if (place.query === this.hover.query && place.key === this.hover.key) return;
    this.hover = place;
    this.draw();
  }

  seek(side, index) {
    const own = this.page.record.same ? "query" : side;
    this.hover = NOTHING;
    this.page.set({ ...NOTHING, [own]: index });
    this.spans[own][index].scrollIntoView({ block: "nearest" });
    this.page.speak(this.inWords(own, index));
  }

  /** Which words a token looks at, and which look at it, in the map shown; each null where it does not apply. */
  partners({ query, key }) {
    const { shown, record } = this.page;
    const looking = query !== null ? strongestKeys(shown, query, STRONGEST) : null;
    const looked = key !== null ? key : record.same ? query : null;
    return { looks: looking, looked: looked === null ? null : strongestQueries(shown, looked, STRONGEST) };
  }

  inWords(side, index) {
    const { record } = this.page;
    const { looks, looked } = this.partners({ ...NOTHING, [side]: index });
    const list = (partners, words) => partners.slice(0, 3).map(([at, weight]) => `“${words[at]}” ${inFigures(weight)}`).join(", ") || "nothing";
    const word = side === "query" ? record.queries[index] : record.keys[index];
    const parts = [looks && `looks most at ${list(looks, record.keys)}`, looked && `is looked at most by ${list(looked, record.queries)}`];
    return `“${word}” ${parts.filter(Boolean).join("; ")}`;
  }

  draw() {
    const { page } = this;
    if (this.area.hidden || !page.shown) return;
    const place = this.state();
    const { record } = page;
    const { looks, looked } = this.partners(place);
    for (const side of ["query", "key"]) for (const one of this.spans[side]) one.className = one.className.replace(/ (lit|to|from)\b/g, "");
    const own = place.query !== null ? this.spans.query[place.query] : place.key !== null ? this.spans.key[place.key] : null;
    for (const box of this.flows.querySelectorAll(".flow")) {
      if (own?.dataset.side === box.dataset.side) box.setAttribute("aria-activedescendant", own.id);
      else box.removeAttribute("aria-activedescendant");
      box.classList.toggle("active", own !== null);
    }
    page.panel.showPlace(page.shown, NOTHING);
    page.find("hint").hidden = own !== null;
    page.panel.showPartners("looks", looks !== null, record.queries[place.query], "looks most at", record.keys, looks ?? []);
    const key = place.key ?? place.query;
    page.panel.showPartners("looked", looked !== null, record.keys[key], "is looked at most by", record.queries, looked ?? []);
    this.drawLines(own, looks ?? [], looked ?? []);
    this.fillStrips(place);
  }

  drawLines(own, looks, looked) {
    const frame = this.flows.getBoundingClientRect();
    this.lines.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    this.lines.replaceChildren();
    if (!own) return;
    const middle = (span) => {
      const area = span.getClientRects()[0] ?? span.getBoundingClientRect();
      return [area.left + area.width / 2 - frame.left, area.top - frame.top, area.height];
    };
    const line = (partner, weight, kind) => {
      const [[x0, y0, high], [x1, y1]] = [middle(own), middle(partner)];
      const bend = y0 === y1 ? Math.min(high * 0.5 + Math.abs(x1 - x0) * 0.08, high * 1.1) : 0;
      const down = y1 > y0 ? high : 0; // leaves from the side that faces its partner
      const [from, to] = y0 === y1 ? [y0, y1] : [y0 + down, y1 + high - down];
      const path = document.createElementNS(this.lines.namespaceURI, "path");
      const turn = y0 === y1 ? [from - bend, to - bend] : [from + (to - from) / 2, to - (to - from) / 2];
      path.setAttribute("d", `M ${x0} ${from} C ${x0} ${turn[0]} ${x1} ${turn[1]} ${x1} ${to}`);
      path.setAttribute("stroke-width", Math.max(1, WIDEST_LINE * weight));
      path.setAttribute("class", kind);
      partner.classList.add(kind);
      this.lines.append(path);
    };
    for (const [index, weight] of looked) if (this.spans.query[index] !== own) line(this.spans.query[index], weight, "from");
    for (const [index, weight] of looks) if (this.spans.key[index] !== own) line(this.spans.key[index], weight, "to");
    own.classList.add("lit");
  }

  /** Of each head the largest weight of the token, as a strip of cells, and the strongest heads in words. */
  fillStrips(place) {
    const { page } = this;
    const { record } = page;
    if (!record.heads || (place.query === null && place.key === null)) return this.strips.replaceChildren();
    const looked = place.key !== null ? place.key : record.same ? place.query : null;
    const strips = [];
    if (place.query !== null) strips.push(this.strip("looks most, head by head", record.keys, (map) => largestInRow(map, place.query)));
    if (looked !== null) strips.push(this.strip("is looked at most, head by head", record.queries, (map) => largestInColumn(map, looked)));
    this.strips.replaceChildren(...strips);
  }

  strip(title, words, largest) {
    const { page } = this;
    const { layers, across } = page.record.heads;
    const found = page.record.maps.map((map) => (map ? largest(map) : [0, 0]));
    const canvas = element("canvas", "strip");
    [canvas.width, canvas.height] = [across, layers];
    const pen = canvas.getContext("2d");
    found.forEach(([, weight], index) => {
      pen.fillStyle = page.inks.of(weight);
      pen.fillRect(index % across, Math.floor(index / across), 1, 1);
    });
    const size = Math.max(6, Math.min(16, Math.floor(260 / across)));
    [canvas.style.width, canvas.style.height] = [`${across * size}px`, `${layers * size}px`];
    canvas.addEventListener("click", (event) => {
      page.choose(Math.floor(event.offsetY / size) * across + Math.floor(event.offsetX / size));
    });
    const order = found.map((_, index) => index).sort((one, other) => found[other][1] - found[one][1] || one - other);
    const rows = order.slice(0, STRONGEST).filter((index) => found[index][1] > 0).map((index) => {
      const [partner, weight] = found[index];
      const button = element("button", "", element("span", "where", nameOf(page.record, index)), spoken(words[partner]), element("span", "figure", inFigures(weight)));
      button.type = "button";
      button.addEventListener("click", () => page.choose(index));
      return element("li", "", button);
    });
    return element("div", "", element("h2", "", title), element("p", "note", "layers down, heads across"), canvas, element("ol", "", ...rows));
  }

  press(event) {
    const side = event.target.dataset.side;
    if (!side || event.altKey || event.metaKey || event.ctrlKey) return;
    const toLeft = getComputedStyle(event.target).direction === "rtl" ? -1 : 1;
    const moves = { ArrowLeft: -toLeft, ArrowRight: toLeft, Home: -Infinity, End: Infinity };
    const spans = this.spans[side];
    const at = this.page.state[side] ?? 0;
    const step = event.key in moves ? at + moves[event.key] * (event.shiftKey ? 10 : 1) : this.lineStep(event.key, spans, at);
    if (step === null) return;
    event.preventDefault();
    this.seek(side, Math.min(Math.max(step, 0), spans.length - 1));
  }

  /** The token above or below one; null for other keys. */
  lineStep(key, spans, at) {
    if (key !== "ArrowUp" && key !== "ArrowDown") return null;
    const boxes = spans.map((one) => one.getClientRects()[0]);
    const own = boxes[at];
    const far = (box) => Math.abs(box.left + box.width / 2 - own.left - own.width / 2);
    const beyond = boxes.filter((box) => (key === "ArrowUp" ? box.top < own.top - 4 : box.top > own.top + 4));
    if (!beyond.length) return at;
    const line = key === "ArrowUp" ? Math.max(...beyond.map((box) => box.top)) : Math.min(...beyond.map((box) => box.top));
    const near = beyond.filter((box) => Math.abs(box.top - line) < 4).sort((one, other) => far(one) - far(other));
    return boxes.indexOf(near[0]);
  }
}

function largestInRow(map, query) {
  let best = 0;
  for (let key = 1; key < map.columns; key += 1) if (map.at(query, key) > map.at(query, best)) best = key;
  return [best, map.at(query, best)];
}

function largestInColumn(map, key) {
  let best = 0;
  for (let query = 1; query < map.rows; query += 1) if (map.at(query, key) > map.at(best, key)) best = query;
  return [best, map.at(best, key)];
}
