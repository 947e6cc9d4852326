// Training: one map at one checkpoint after the other, as it formed.

import { LargeView, Stepper } from "./large.js";

const REST = 500; // ms a checkpoint

export class TrainingView extends LargeView {
  name = "training";
  label = "Training";
  hint = "The same map at each checkpoint. Move the slider, or let it play, to see it form; choose another head above it.";
  showsOneMap = true;

  constructor(page) {
    super(page);
    this.stepper = new Stepper(this, REST);
  }

  /** The numbers of the records that show the same text and heads, in the order of their steps. */
  checkpoints(record) {
    const { records } = this.page;
    const alike = (other) =>
      other.step !== null && other.kind === record.kind && `${other.shape}` === `${record.shape}` && other.heads?.layers === record.heads?.layers &&
      other.heads?.across === record.heads?.across && other.keys.join("\n") === record.keys.join("\n") && other.queries.join("\n") === record.queries.join("\n");
    return record.step === null ? [] : records.map((_, index) => index).filter((index) => alike(records[index])).sort((one, other) => records[one].step - records[other].step);
  }

  fills(record) {
    return this.checkpoints(record).length > 1;
  }

  open() {
    const { page } = this;
    page.offerMaps();
    this.stepper.show(`step ${page.record.step.toLocaleString("en")}`);
    if (page.shown) page.showLarge(page.shown);
    else page.showLoading();
  }

  arrived(index) {
    if (index === this.page.chosen) this.page.open();
  }

  get at() {
    return this.checkpoints(this.page.record).indexOf(this.page.state.record);
  }

  get last() {
    return this.checkpoints(this.page.record).length - 1;
  }

  go(at) {
    const { layer, head, query, key } = this.page.state;
    this.page.set({ record: this.checkpoints(this.page.record)[at], view: this.name, layer, head, query, key });
    this.page.speak(`step ${this.page.record.step}`);
  }
}
