// The page: a choice of records, the map, and a panel that answers what a number is. Every state has an address.

import { goldOf, inFigures, inWords, inks, rankInRow, rankInWords, readRecords } from "./data.js";
import { strongestKeys, strongestQueries, weightAt } from "./data.js";
import { WeightMap } from "./map.js";

const STEP = 10;
const NOTHING = { query: null, key: null };

export class Page {
  constructor(root, payload) {
    this.ramps = payload.ramps;
    this.records = readRecords(payload);
    this.dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.hover = NOTHING;
    this.find = (name) => root.querySelector(`[data-part="${name}"]`);
    this.grid = this.find("grid");
    this.listRecords();
    this.listen();
    this.readAddress();
  }

  listen() {
    this.find("colours").addEventListener("change", (event) => this.set({ colours: event.target.value }));
    this.find("theme").addEventListener("change", (event) => this.set({ theme: event.target.value }));
    this.find("twin").addEventListener("toggle", () => this.fillTable());
    this.grid.addEventListener("pointermove", (event) => this.point(this.map.under(event)));
    this.grid.addEventListener("pointerleave", () => this.point(NOTHING));
    this.grid.addEventListener("click", (event) => this.click(this.map.under(event)));
    this.grid.addEventListener("keydown", (event) => this.press(event));
    this.grid.addEventListener("focus", () => this.enter());
    this.dark.addEventListener("change", () => this.recolour());
    window.addEventListener("hashchange", () => this.readAddress());
    window.addEventListener("resize", () => this.resize());
  }

  get record() {
    return this.records[this.state.record];
  }

  get focused() {
    return this.state.query === null ? null : { query: this.state.query, key: this.state.key };
  }

  readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name, below) => {
      const value = asked.get(name);
      return value !== null && /^\d+$/.test(value) && Number(value) < below ? Number(value) : null;
    };
    const record = number("record", this.records.length) ?? 0;
    const query = number("query", this.records[record].queries.length);
    const key = number("key", this.records[record].keys.length);
    const cell = query === null || key === null ? NOTHING : { query, key };
    const colours = Object.hasOwn(this.ramps, asked.get("colours")) ? asked.get("colours") : "cividis";
    const theme = ["light", "dark"].includes(asked.get("theme")) ? asked.get("theme") : "system";
    this.state = { record, ...cell, colours, theme };
    this.open();
  }

  writeAddress() {
    const { record, query, key, colours, theme } = this.state;
    const kept = { record: record || null, query, key, colours: colours === "cividis" ? null : colours };
    kept.theme = theme === "system" ? null : theme;
    const parts = Object.entries(kept).filter(([, value]) => value !== null);
    try {
      history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
    } catch {
      // Inside a notebook's frame the page has no address of its own.
    }
  }

  set(change) {
    const other = "record" in change && change.record !== this.state.record;
    this.state = { ...this.state, ...change, ...(other ? NOTHING : {}) };
    this.writeAddress();
    if (other) this.open();
    else if ("colours" in change || "theme" in change) this.recolour();
    else this.draw();
  }

  open() {
    const { record } = this;
    this.hover = NOTHING;
    this.find("title").textContent = record.title || "Alignment";
    this.find("note").textContent = record.note;
    say(this.find("input"), record.input);
    say(this.find("output"), record.output);
    this.find("empty").hidden = record.queries.length > 0 && record.keys.length > 0;
    this.find("figure").hidden = !this.find("empty").hidden;
    this.find("gold").hidden = record.sure.length + record.possible.length === 0;
    this.find("copied").hidden = record.copied.length === 0;
    this.find("records").querySelectorAll("button").forEach((button, index) => {
      if (index === this.state.record) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    this.grid.setAttribute("aria-rowcount", record.queries.length);
    this.grid.setAttribute("aria-colcount", record.keys.length);
    this.map = new WeightMap(this.find("sheet"), record);
    this.fillTable();
    this.resize();
    if (this.focused) this.scrollTo(this.state.query, this.map.columnOf[this.state.key]);
  }

  resize() {
    const area = this.grid;
    this.map.layOut({ width: area.clientWidth, height: window.innerHeight * 0.7 });
    this.recolour();
  }

  recolour() {
    const { colours, theme } = this.state;
    const paper = theme === "system" ? (this.dark.matches ? "dark" : "light") : theme;
    document.documentElement.dataset.theme = paper;
    this.find("colours").value = colours;
    this.find("theme").value = theme;
    const style = getComputedStyle(document.documentElement);
    const own = (name) => style.getPropertyValue(`--${name}`).trim();
    const anchors = this.ramps[colours][paper];
    this.find("scale").style.background = `linear-gradient(to right, ${anchors.map((hex) => `#${hex}`).join(", ")})`;
    const shades = { grid: own("grid"), line: own("line"), gold: own("gold"), accent: own("accent"), veil: own("veil") };
    this.map.paint(inks(anchors), { ...shades, face: getComputedStyle(document.body).fontFamily });
    this.draw();
  }

  draw() {
    const lit = this.lit();
    this.map.show(lit, this.focused);
    this.fillPanel(lit);
  }

  /** What the pointer is at, else what is focused; the word of a focused cell stands for that cell. */
  lit() {
    const { focused, hover } = this;
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
    if (!this.focused && this.grid.matches(":focus-visible")) this.click({ query: 0, key: null });
  }

  press(event) {
    const { record } = this;
    if (event.key === "Escape") {
      this.hover = NOTHING;
      this.set(NOTHING);
      return;
    }
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    Object.assign(moves, { PageUp: [-STEP, 0], PageDown: [STEP, 0], Home: [0, -Infinity], End: [0, Infinity] });
    if (!(event.key in moves) || event.altKey || event.metaKey) return;
    event.preventDefault();
    let [down, right] = moves[event.key];
    if (event.ctrlKey && Math.abs(right) === Infinity) down = right;
    const far = event.shiftKey && event.key.startsWith("Arrow") ? STEP : 1;
    const { query, key } = this.focused ?? { query: 0, key: record.order[0] };
    const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
    const column = within(record.order.indexOf(key) + right * far, record.order.length);
    this.moveTo(within(query + down * far, record.queries.length), record.order[column]);
  }

  moveTo(query, key) {
    this.hover = NOTHING;
    this.set({ query, key });
    const cell = this.find("cell");
    cell.textContent = inFigures(weightAt(this.record, query, key));
    cell.setAttribute("aria-rowindex", query + 1);
    cell.setAttribute("aria-colindex", this.map.columnOf[key] + 1);
    this.find("spoken").textContent = inWords(this.record, query, key);
    this.scrollTo(query, this.map.columnOf[key]);
  }

  scrollTo(query, column) {
    const { cell, left, top } = this.map;
    const area = this.grid;
    const into = (at, size, from) => Math.min(Math.max(from, at + cell - size), at);
    area.scrollLeft = into(column * cell, area.clientWidth - left, area.scrollLeft);
    area.scrollTop = into(query * cell, area.clientHeight - top, area.scrollTop);
  }

  fillPanel({ query, key }) {
    const { record } = this;
    const both = query !== null && key !== null;
    this.find("hint").hidden = query !== null || key !== null;
    this.find("answer").hidden = !both;
    if (both) {
      const gold = goldOf(record, query, key);
      say(this.find("from"), record.queries[query]);
      say(this.find("to"), record.keys[key]);
      this.find("number").textContent = inFigures(weightAt(record, query, key));
      this.find("rank").textContent = rankInWords(rankInRow(record, query, key), record.keys.length);
      this.find("link").textContent = gold && `${gold} gold link`;
    }
    const keys = query === null ? [] : strongestKeys(record, query);
    const queries = key === null ? [] : strongestQueries(record, key);
    this.fillBars("looks", query !== null, record.queries[query], "looks most at", record.keys, keys);
    this.fillBars("looked", key !== null, record.keys[key], "is looked at most by", record.queries, queries);
  }

  fillBars(part, shown, word, verb, words, partners) {
    const section = this.find(part);
    section.hidden = !shown;
    if (!shown) return;
    section.querySelector("h3").replaceChildren(spoken(word), ` ${partners.length ? verb : "has no weight"}`);
    const bars = partners.map(([index, weight]) => {
      const bar = element("span", "bar");
      bar.style.width = `${Math.min(Math.max(weight, 0), 1) * 100}%`;
      return element("li", "", spoken(words[index]), element("span", "track", bar), element("span", "figure", inFigures(weight)));
    });
    section.querySelector("ol").replaceChildren(...bars);
  }

  listRecords() {
    const rail = this.find("records");
    rail.hidden = this.records.length < 2;
    const oneInput = this.records.every((record) => record.input === this.records[0].input);
    const buttons = this.records.map((record, index) => {
      const button = element("button", "", spoken(record.output || record.title || `${index + 1}`));
      if (!oneInput) button.append(element("span", "aside", spoken(record.input)));
      else if (record.score) button.append(element("span", "aside", record.score));
      button.type = "button";
      button.addEventListener("click", () => this.set({ record: index }));
      return element("li", "", button);
    });
    rail.querySelector("ol").replaceChildren(...buttons);
  }

  fillTable() {
    const { record } = this;
    const table = this.find("table");
    table.replaceChildren();
    if (!this.find("twin").open) return;
    const head = element("tr", "", element("td"), ...record.order.map((key) => heading("col", record.keys[key])));
    const rows = record.queries.map((word, query) => {
      const cells = record.order.map((key) => element("td", "", inFigures(weightAt(record, query, key))));
      return element("tr", "", heading("row", word), ...cells);
    });
    table.append(element("thead", "", head), element("tbody", "", ...rows));
  }
}

function element(tag, className = "", ...children) {
  const one = document.createElement(tag);
  if (className) one.className = className;
  one.append(...children);
  return one;
}

function spoken(word) {
  const one = element("bdi", "word", word);
  one.dir = "auto";
  return one;
}

function say(one, text) {
  one.dir = "auto";
  one.textContent = text;
}

function heading(scope, word) {
  const one = element("th", "", spoken(word));
  one.scope = scope;
  return one;
}

new Page(document.body, JSON.parse(document.getElementById("regard-data").textContent));
