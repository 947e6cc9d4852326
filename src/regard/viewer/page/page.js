// The page: which record, which view, what is focused. Every state has an address.

import { CompareView } from "./compare.js";
import { dialogs } from "./dialogs.js";
import { inFigures, nameOf, withWeights } from "./data.js";
import { element, fillSelect, spoken, say } from "./dom.js";
import { Figure, NOTHING } from "./figure.js";
import { GenerationView } from "./generation.js";
import { HeadsView } from "./heads.js";
import { placeIn } from "./joined.js";
import { LargeView } from "./large.js";
import { Panel } from "./panel.js";
import { Inks, isLogarithmic } from "./scale.js";
import { TokensView } from "./tokens.js";
import { TrainingView } from "./training.js";
import { MOST_LABELS, ZoomPane, ZoomView } from "./zoom.js";
import { isUnpacked, isWhole, readRecords, unpackRecord } from "./unpack.js";

const PARTS = ["figure", "heads", "opened", "sorting", "pooled", "loading", "choosing", "stepping", "tokens", "gold", "copied", "zoom", "strongest-twin", "head-twin", "compare", "comparing"];
// What is so where an address does not say.
const UNTOLD = {
  view: null, record: 0, layer: null, head: null, open: 0, sort: "", pooling: "max", ...NOTHING, box: null, left: null, right: null,
  colours: "cividis", theme: "system", scale: "auto", threshold: 0,
};

/** The mean of all heads, or the one map there is, with its words. */
class AlignmentView extends LargeView {
  name = "alignment";
  label = "Alignment";
  hint = "Point at a word or a cell to see where it looks. Each row is an output word; the stronger the colour of a cell, the more that word looks at the input word above it.";

  fills(record) {
    return isWhole(record) && Math.max(record.keys.length, record.queries.length) <= MOST_LABELS;
  }

  open() {
    if (this.page.record.weights) this.page.showLarge(this.page.record);
    else this.page.showLoading();
  }

  arrived(index) {
    if (index === null) this.page.open();
  }
}

export class Page {
  constructor(root, payload) {
    this.ramps = payload.ramps;
    this.bothWays = payload.diverging;
    this.sent = readRecords(payload);
    this.inWords = this.sent.map((record) => record.joined ?? record);
    this.untold = { ...UNTOLD, pieces: payload.pieces };
    this.dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.find = (name) => root.querySelector(`[data-part="${name}"]`);
    this.panel = new Panel(this.find);
    this.figure = new Figure(this);
    this.zoom = new ZoomPane(this, root);
    this.views = [new AlignmentView(this), new HeadsView(this), new TokensView(this), new ZoomView(this), new CompareView(this), new GenerationView(this), new TrainingView(this)];
    this.help = dialogs(this);
    this.listRecords();
    this.listen();
    this.readAddress();
  }

  listen() {
    for (const choice of ["colours", "theme", "scale", "pieces"]) {
      this.find(choice).addEventListener("change", (event) => this.set({ [choice]: event.target.value }));
    }
    this.find("threshold").addEventListener("input", ({ target }) => this.set({ threshold: Number(target.value) }));
    this.find("which-map").addEventListener("change", ({ target }) => this.choose(target.value === "" ? null : Number(target.value)));
    this.dark.addEventListener("change", () => this.recolour());
    document.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("hashchange", () => this.readAddress());
    window.addEventListener("resize", () => this.resize());
  }

  /** The records between tokens, or where these are parts of words, and nobody asked for them, between words. */
  get records() {
    const { pieces, view } = this.state;
    return pieces === "subwords" || view === "generation" ? this.sent : this.inWords;
  }

  get record() {
    return this.records[this.state.record];
  }

  get focused() {
    return this.state.query === null || this.state.key === null ? null : { query: this.state.query, key: this.state.key };
  }

  /** The number of the chosen head; null for the mean of all. */
  get chosen() {
    const { layer, head } = this.state;
    return layer === null || head === null || !this.record.heads ? null : layer * this.record.heads.across + head;
  }

  get fitting() {
    return this.views.filter((view) => view.fills(this.record));
  }

  readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name, below) => {
      const value = asked.get(name);
      return value !== null && /^\d+$/.test(value) && Number(value) < below ? Number(value) : null;
    };
    const oneOf = (name, choices) => (choices.includes(asked.get(name)) ? asked.get(name) : this.untold[name]);
    const state = { record: number("record", this.sent.length) ?? 0, view: asked.get("view"), pieces: oneOf("pieces", ["words", "subwords"]) };
    this.state = { ...this.untold, ...state };
    const { record } = this;
    Object.assign(state, { query: number("query", record.queries.length), key: number("key", record.keys.length) });
    state.layer = number("layer", record.heads?.layers ?? 0);
    state.head = number("head", record.heads?.across ?? 0);
    if (state.layer === null || state.head === null) state.layer = state.head = null;
    state.open = state.layer === null ? 0 : (number("open", 2) ?? 0);
    state.box = /^-?[\d.]+,-?[\d.]+,[\d.]+$/.test(asked.get("box") ?? "") ? asked.get("box") : null;
    for (const side of ["left", "right"]) state[side] = /^\d+(\.\d+){0,2}$/.test(asked.get(side) ?? "") ? asked.get(side) : null;
    state.sort = oneOf("sort", Object.keys(record.heads?.statistics ?? {}));
    state.pooling = oneOf("pooling", ["max", "mean"]);
    state.colours = oneOf("colours", Object.keys(this.ramps));
    state.theme = oneOf("theme", ["light", "dark"]);
    state.scale = oneOf("scale", ["linear", "log"]);
    const least = Number(asked.get("threshold"));
    state.threshold = least > 0 && least < 1 ? least : 0;
    this.state = { ...this.untold, ...state };
    this.open();
  }

  writeAddress() {
    const kept = Object.entries(this.state).filter(([name, value]) => value !== null && value !== this.untold[name]);
    try {
      history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
    } catch {
      // Inside a notebook's frame the page has no address of its own.
    }
  }

  /** Changes the state, its address, and as much of the page as that takes. */
  set(change) {
    const other = (name) => name in change && change[name] !== this.state[name];
    const mapShown = this.state.open || this.view.showsOneMap;
    const anew = ["record", "view", "sort", "open", "left", "right", "pieces"].some(other) || (mapShown && ["layer", "head"].some(other));
    const repaint = ["colours", "theme", "scale", "pooling", "threshold"].some(other);
    const forgotten = other("record") ? { ...NOTHING, layer: null, head: null, open: 0, sort: "", box: null, left: null, right: null } : {};
    const before = other("record") ? null : this.record;
    this.state = { ...this.state, ...forgotten, ...change };
    if (before) this.keepPlace(before);
    this.writeAddress();
    if (anew) this.open();
    else if (repaint) this.recolour();
    else this.view.draw();
  }

  /** Lets what is focused stay so where tokens have become words, or words tokens. */
  keepPlace(before) {
    const { record, state } = this;
    if (before === record) return;
    for (const side of ["query", "key"]) state[side] = placeIn(before, record, side, state[side]);
    state.box = null;
  }

  open() {
    const { record, state } = this;
    this.view = this.fitting.find((view) => view.name === state.view) ?? this.fitting.find((view) => record.heads && view.name === "heads") ?? this.fitting[0];
    this.large = null;
    for (const part of PARTS) this.find(part).hidden = true;
    this.find("title").textContent = record.title || this.view.label;
    this.find("note").textContent = this.note();
    say(this.find("input"), record.input);
    say(this.find("output"), record.output);
    this.find("input-name").textContent = record.same ? "text" : "input";
    this.find("output-row").hidden = record.same;
    this.find("texts").hidden = ["tokens", "generation"].includes(this.view.name);
    this.find("texts").hidden ||= record.keys.length > MOST_LABELS;
    const empty = record.queries.length === 0 || record.keys.length === 0;
    this.find("empty").hidden = !empty;
    this.find("cut").hidden = !this.sent[state.record].joined || this.view.name === "generation";
    this.find("desk").dataset.view = this.view.name;
    this.listViews();
    this.find("records").querySelectorAll("button").forEach((button, index) => current(button, index === state.record));
    this.panel.hint(this.view.hint);
    this.panel.showNothing();
    this.panel.showHead(record, this.chosen);
    this.panel.showBelief(record);
    this.mix();
    if (!empty) this.view.open();
    this.unpack(record);
  }

  note() {
    const { record, chosen } = this;
    if (this.view.name === "alignment" || !record.heads) return record.note;
    return chosen === null ? "" : nameOf(record, chosen);
  }

  /** Shows one map as large as there is room. */
  showLarge(record) {
    const fitting = isWhole(record) && Math.max(record.keys.length, record.queries.length) <= MOST_LABELS;
    this.large = fitting ? this.figure : this.zoom;
    this.large.show(record);
  }

  showLoading() {
    this.find("loading").hidden = false;
  }

  async unpack(shown) {
    const record = shown.tokens ?? shown;
    if (isUnpacked(record) || record.unpacking) return;
    record.unpacking = true;
    const loading = this.find("loading");
    try {
      await unpackRecord(record, () => this.chosen, (done, of, index) => {
        if (record !== this.sent[this.state.record]) {
          if (this.view.name === "compare") this.view.arrived(index);
          return;
        }
        loading.hidden = done === of;
        loading.textContent = `${done} of ${of} maps are unpacked.`;
        this.view.arrived(index);
        if (done === of) performance.mark("unpacked");
      });
    } catch (error) {
      const remedy = "DecompressionStream" in window ? "The file is damaged: save it again." : "This browser cannot unpack it: open it with a newer one (from 2023 on).";
      this.find("failed").textContent = `The weights cannot be read (${error.message}). ${remedy}`;
      this.find("failed").hidden = false;
      loading.hidden = true;
    }
  }

  resize() {
    this.view.resize();
  }

  /** Chooses inks and shades for the theme, the colours and the scale. */
  mix() {
    const { colours, theme, scale, threshold } = this.state;
    const paper = theme === "system" ? (this.dark.matches ? "dark" : "light") : theme;
    document.documentElement.dataset.theme = paper;
    for (const choice of ["colours", "theme", "scale", "pooling", "pieces"]) this.find(choice).value = this.state[choice];
    const logarithmic = isLogarithmic(this.record, scale);
    this.inks = new Inks(this.ramps[colours][paper], logarithmic ? Inks.floorFor(this.record) : 0, threshold);
    this.find("threshold").value = threshold;
    this.find("threshold-at").textContent = threshold ? `from ${inFigures(threshold)}` : "all";
    this.diverging = this.bothWays[paper];
    this.find("ramp").style.background = this.inks.gradient;
    this.find("least").textContent = logarithmic ? `${Number(this.inks.floor.toPrecision(1))} or less` : "0";
    this.find("kind-of-scale").textContent = logarithmic ? "logarithmic" : "linear";
    const style = getComputedStyle(document.documentElement);
    const own = (name) => style.getPropertyValue(`--${name}`).trim();
    this.shades = { face: getComputedStyle(document.body).fontFamily };
    for (const shade of ["grid", "line", "gold", "accent", "veil", "ink", "quiet", "page"]) this.shades[shade] = own(shade);
  }

  recolour() {
    this.mix();
    this.view.recolour();
  }

  /** Lets the reader choose between the mean and one head, for a view that shows one map. */
  offerMaps() {
    const { record } = this;
    if (!record.heads) return;
    const { layers, across } = record.heads;
    const ofLayer = (layer) => Array.from({ length: across }, (_, head) => [`${layer * across + head}`, `layer ${layer}, head ${head}`]);
    const groups = Array.from({ length: layers }, (_, layer) => [`Layer ${layer}`, ofLayer(layer)]);
    fillSelect(this.find("which-map"), [["", "mean of all heads"], ...groups], `${this.chosen ?? ""}`);
    this.find("choosing").hidden = false;
  }

  /** The record with the map of the chosen head, or of the mean; null if it has not come yet. */
  get shown() {
    const { record, chosen } = this;
    if (chosen === null) return record.weights && record;
    return record.maps[chosen] && withWeights(record, record.maps[chosen]);
  }

  /** Chooses a head by its number, or the mean by null. */
  choose(index) {
    const { across } = this.record.heads;
    this.set(index === null ? { layer: null, head: null } : { layer: Math.floor(index / across), head: index % across });
  }

  /** Moves on from the chosen head by some heads and layers. */
  step(heads, layers) {
    if (!this.record.heads) return;
    const { state, chosen } = this;
    const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
    const { layers: count, across } = this.record.heads;
    const place = [within(state.layer + layers, count), within(state.head + heads, across)];
    this.set(chosen === null ? { layer: 0, head: 0 } : { layer: place[0], head: place[1] });
  }

  /** Goes to a word that was searched for. */
  seek(side, index) {
    if (this.view.seek) return this.view.seek(side, index);
    if (this.view.name === "heads" && !this.state.open) this.set({ view: isWhole(this.record) ? "tokens" : "zoom" });
    if (this.view.seek) this.view.seek(side, index);
    else if (this.large === this.zoom) this.zoom.seek(side, index);
    else this.large?.click({ ...NOTHING, [side]: index });
  }

  speak(text) {
    this.find("spoken").textContent = text;
  }

  /** Lets go of what is focused, then of what is open. */
  close() {
    if (!this.find("zoom").hidden && this.zoom.out()) return;
    if (this.state.query !== null || this.state.key !== null) this.set(NOTHING);
    else if (this.state.open) this.set({ open: 0 });
    else this.set({ layer: null, head: null });
  }

  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    const steps = { h: [-1, 0], l: [1, 0], j: [0, 1], k: [0, -1] };
    if (event.key === "Escape") this.close();
    else if (/^[1-9]$/.test(event.key) && this.fitting[event.key - 1]) this.set({ view: this.fitting[event.key - 1].name });
    else if (event.key in steps) (this.view.step ? this.view : this).step(...steps[event.key]);
    else this.help(event);
  }

  listViews() {
    const rail = this.find("views");
    rail.hidden = this.fitting.length < 2;
    const focused = rail.contains(document.activeElement);
    const buttons = this.fitting.map((view) => {
      const button = element("button", "", view.label);
      button.type = "button";
      current(button, view === this.view);
      button.addEventListener("click", () => this.set({ view: view.name }));
      return element("li", "", button);
    });
    rail.querySelector("ol").replaceChildren(...buttons);
    if (focused) rail.querySelector("[aria-current]").focus();
  }

  listRecords() {
    const rail = this.find("records");
    const records = this.inWords;
    rail.hidden = records.length < 2;
    const oneInput = records.every((record) => record.input === records[0].input);
    const buttons = records.map((record, index) => {
      const button = element("button", "", spoken(record.output || record.title || `${index + 1}`));
      if (!oneInput) button.append(element("span", "aside", spoken(record.input)));
      else if (record.score) button.append(element("span", "aside", record.score));
      button.type = "button";
      button.addEventListener("click", () => this.set({ record: index }));
      return element("li", "", button);
    });
    rail.querySelector("ol").replaceChildren(...buttons);
  }
}

function current(button, is) {
  if (is) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}
