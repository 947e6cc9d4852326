// Generation: the text as it was said, a token at a time, and where the model looked for each.

import { NOTHING } from "./figure.js";
import { TokensView } from "./tokens.js";

const PACE = 700; // ms a token

export class GenerationView extends TokensView {
  name = "generation";
  label = "Generation";
  hint = "Step through the tokens, or let them play: lines lead to where the model looks from each, what comes later is faint.";

  constructor(page) {
    super(page);
    this.slider = page.find("step");
    this.button = page.find("play");
    const hear = (one, kind, act) => one.addEventListener(kind, () => page.view === this && act());
    hear(this.slider, "input", () => this.go(Number(this.slider.value) - 1));
    hear(this.button, "click", () => (this.playing ? this.pause() : this.play()));
  }

  /** What is said step by step: a decoder's own text, or an output beside its input. */
  fills(record) {
    return super.fills(record) && record.kind !== "encoder" && (record.kind === "decoder" || !record.same);
  }

  open() {
    super.open();
    if (!this.page.shown) return;
    this.page.find("stepping").hidden = false;
    this.slider.max = this.page.record.queries.length;
    this.draw();
  }

  get step() {
    return this.page.state.query ?? 0;
  }

  state() {
    return { ...NOTHING, query: this.step };
  }

  /** Nobody has looked back yet. */
  partners(place) {
    return { ...super.partners(place), looked: null };
  }

  point() {}

  draw() {
    if (this.page.view !== this) return this.pause();
    super.draw();
    this.slider.value = this.step + 1;
    this.page.find("step-of").textContent = `${this.step + 1} of ${this.page.record.queries.length}`;
    this.spans.query.forEach((one, index) => one.classList.toggle("ahead", index > this.step));
  }

  go(step) {
    this.pause();
    this.seek("query", step);
  }

  play() {
    const last = this.page.record.queries.length - 1;
    if (this.step >= last) this.seek("query", 0);
    this.button.textContent = "Pause";
    this.playing = setInterval(() => {
      if (this.page.view !== this || this.step >= last) return this.pause();
      this.seek("query", this.step + 1);
      return undefined;
    }, PACE);
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    this.button.textContent = "Play";
  }
}
