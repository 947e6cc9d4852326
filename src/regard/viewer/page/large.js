// What views of one large map have in common, and those of several steps.

/** A view whose map is the page's large one: how it is drawn is up to that. */
export class LargeView {
  constructor(page) {
    this.page = page;
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
}

/** The slider and the button of a view that goes through steps; the views share them, the one that is open is heard. */
export class Stepper {
  /** `view` has `at`, the step from 0, `last`, and `go(step)`; each step rests `pace` ms while it plays. */
  constructor(view, pace) {
    Object.assign(this, { view, pace, area: view.page.find("stepping"), slider: view.page.find("step"), button: view.page.find("play") });
    const hear = (one, kind, act) => one.addEventListener(kind, () => view.page.view === view && act());
    hear(this.slider, "input", () => {
      this.pause();
      view.go(Number(this.slider.value) - 1);
    });
    hear(this.button, "click", () => (this.playing ? this.pause() : this.play()));
  }

  show(words) {
    this.area.hidden = false;
    this.slider.max = this.view.last + 1;
    this.slider.value = this.view.at + 1;
    this.view.page.find("step-of").textContent = words;
  }

  play() {
    const { view } = this;
    if (view.at >= view.last) view.go(0);
    this.button.textContent = "Pause";
    this.playing = setInterval(() => {
      if (view.page.view !== view || view.at >= view.last) this.pause();
      else view.go(view.at + 1);
    }, this.pace);
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    this.button.textContent = "Play";
  }
}
