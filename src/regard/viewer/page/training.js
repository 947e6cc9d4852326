// Training: one map at one checkpoint after the other, as it formed.

const REST = 500; // ms a checkpoint

export class TrainingView {
  name = "training";
  label = "Training";
  hint = "The same map at each checkpoint. Move the slider, or let it play, to see it form; choose another head above it.";
  showsOneMap = true;

  constructor(page) {
    this.page = page;
    this.slider = page.find("step");
    this.button = page.find("play");
    const hear = (one, kind, act) => one.addEventListener(kind, () => page.view === this && act());
    hear(this.slider, "input", () => {
      this.pause();
      this.show(Number(this.slider.value) - 1);
    });
    hear(this.button, "click", () => (this.playing ? this.pause() : this.play()));
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
    const steps = this.checkpoints(page.record);
    page.offerMaps();
    page.find("stepping").hidden = false;
    this.slider.max = steps.length;
    this.slider.value = steps.indexOf(page.state.record) + 1;
    page.find("step-of").textContent = `step ${page.record.step.toLocaleString("en")}`;
    if (page.shown) page.showLarge(page.shown);
    else page.showLoading();
  }

  resize() {
    this.page.large?.resize();
  }

  recolour() {
    this.page.large?.recolour();
  }

  draw() {
    this.page.large?.draw();
  }

  arrived(index) {
    if (index === this.page.chosen) this.page.open();
  }

  get at() {
    return this.checkpoints(this.page.record).indexOf(this.page.state.record);
  }

  show(at) {
    const { layer, head, query, key } = this.page.state;
    this.page.set({ record: this.checkpoints(this.page.record)[at], view: this.name, layer, head, query, key });
    this.page.speak(`step ${this.page.record.step}`);
  }

  play() {
    const last = this.slider.max - 1;
    if (this.at === last) this.show(0);
    this.button.textContent = "Pause";
    this.playing = setInterval(() => {
      if (this.page.view !== this || this.at === last) this.pause();
      else this.show(this.at + 1);
    }, REST);
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    this.button.textContent = "Play";
  }
}
