// The text while a model is at hand: sent to it, with how far it is, and the page anew when it has looked.

const LARGEST_PART = 1024; // rows and columns that the server hands out at once

function hearLines(response, hear) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  const next = async () => {
    const { value, done } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const whole = rest.split("\n");
    rest = whole.pop();
    whole.filter(Boolean).forEach((line) => hear(JSON.parse(line)));
    if (!done) await next();
  };
  return next();
}

function timeLeft(seconds) {
  if (seconds < 1.5) return "a moment left";
  return seconds < 90 ? `${Math.round(seconds)} seconds left` : `${Math.round(seconds / 60)} minutes left`;
}

class LiveText {
  constructor(form) {
    this.form = form;
    this.text = form.querySelector("textarea");
    this.button = form.querySelector("button");
    this.bar = form.querySelector("progress");
    this.status = form.querySelector("[role=status]");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.look();
    });
    this.text.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.look();
      }
    });
  }

  async look() {
    if (this.button.disabled) return;
    if (!this.text.value.trim()) {
      this.say("Type some words to look at.");
      return;
    }
    this.button.disabled = true;
    this.since = performance.now();
    this.say("The model is looking …");
    try {
      const response = await fetch("/look", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ text: this.text.value }),
      });
      if (response.ok) await hearLines(response, (step) => this.hear(step));
      else this.fail(await response.text());
    } catch {
      this.fail("The model no longer answers. Start regard look again, and load this page anew.");
    }
    this.button.disabled = false;
  }

  hear({ done, total, ready, error }) {
    if (ready) {
      window.location.reload();
    } else if (error) {
      this.fail(error);
    } else {
      const seconds = (performance.now() - this.since) / 1000;
      this.bar.hidden = false;
      this.bar.max = total;
      this.bar.value = done;
      this.say(`${done} of ${total} layers, ${timeLeft((seconds / done) * (total - done))}`);
    }
  }

  fail(sentence) {
    this.bar.hidden = true;
    this.say(sentence);
    this.status.classList.add("error");
  }

  say(sentence) {
    this.status.classList.remove("error");
    this.status.textContent = sentence;
  }
}

/** The weights of a part of one head's map, as the page zooms into it; see zoom.js. */
function partOf(records) {
  return async ({ record, head, rows, columns }) => {
    const across = records[record].heads?.across ?? 1; // of one map there is no list of heads
    const size = [rows[1] - rows[0], columns[1] - columns[0]];
    if ((head === null && records[record].heads) || Math.max(...size) > LARGEST_PART) return null;
    const asked = {
      record, layer: Math.floor((head ?? 0) / across), head: (head ?? 0) % across,
      top: rows[0], bottom: rows[1], left: columns[0], right: columns[1],
    };
    const response = await fetch(`/part?${new URLSearchParams(asked)}`);
    if (!response.ok) return null;
    const view = new DataView(await response.arrayBuffer());
    const weights = Float32Array.from({ length: size[0] * size[1] }, (_, at) => view.getFloat32(4 * at, true));
    return { rows: size[0], columns: size[1], weights };
  };
}

const liveForm = document.querySelector('[data-part="live"]');
if (liveForm) {
  new LiveText(liveForm);
  document.body.regardTile = partOf(JSON.parse(document.getElementById("regard-data").textContent).records);
}
