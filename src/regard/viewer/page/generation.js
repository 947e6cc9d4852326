// Generation: the text as it was said, a token at a time, and where the model looked for each.

import { NOTHING } from "./figure.js";
import { Stepper } from "./large.js";
import { TokensView } from "./tokens.js";

const PACE = 700; // ms a token

export class GenerationView extends TokensView {
  name = "generation";
  label = "Generation";
  hint = "Step through the tokens, or let them play: lines lead to where the model looks from each, what comes later is faint.";

  constructor(page) {
    super(page);
    this.stepper = new Stepper(this, PACE);
  }

  /** What is said step by step: a decoder's own text, or an output beside its input. */
  fills(record) {
    return super.fills(record) && record.kind !== "encoder" && (record.kind === "decoder" || !record.same);
  }

  open() {
    super.open();
    if (this.page.shown) this.draw();
  }

  get at() {
    return this.page.state.query ?? 0;
  }

  get last() {
    return this.page.record.queries.length - 1;
  }

  state() {
    return { ...NOTHING, query: this.at };
  }

  /** Nobody has looked back yet. */
  partners(place) {
    return { ...super.partners(place), looked: null };
  }

  point() {}

  draw() {
    if (this.page.view !== this) return this.stepper.pause();
    super.draw();
    this.stepper.show(`${this.at + 1} of ${this.last + 1}`);
    this.spans.query.forEach((one, index) => one.classList.toggle("ahead", index > this.at));
  }

  go(at) {
    this.seek("query", at);
  }
}
