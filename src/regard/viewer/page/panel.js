// The panel: what is this number, what kind of head is this, how far can it be believed.

import { goldOf, inFigures, nameOf, rankInWords, strongestKeys, strongestQueries, weightAt } from "./data.js";
import { barOf, element, say, spoken } from "./dom.js";

export class Panel {
  constructor(find) {
    this.find = find;
  }

  hint(text) {
    this.find("hint").textContent = text;
  }

  /** Says what the cell, or the word, at a place is; nothing where both are null. */
  showPlace(record, { query, key }) {
    const both = query !== null && key !== null;
    this.find("hint").hidden = query !== null || key !== null;
    this.find("answer").hidden = !both;
    if (both) {
      const gold = goldOf(record, query, key);
      this.showNumber(inFigures(weightAt(record, query, key)), record.queries[query], record.keys[key]);
      this.find("rank").textContent = rankInWords(record, query, key);
      this.find("link").textContent = gold && `${gold} gold link`;
    }
    const keys = query === null ? [] : strongestKeys(record, query);
    const queries = key === null ? [] : strongestQueries(record, key);
    this.showPartners("looks", query !== null, record.queries[query], "looks most at", record.keys, keys);
    this.showPartners("looked", key !== null, record.keys[key], "is looked at most by", record.queries, queries);
  }

  showNumber(number, from, to) {
    say(this.find("from"), from);
    say(this.find("to"), to);
    this.find("number").textContent = number;
  }

  showNothing() {
    this.find("hint").hidden = false;
    for (const part of ["answer", "looks", "looked"]) this.find(part).hidden = true;
  }

  showPartners(part, shown, word, verb, words, partners) {
    const section = this.find(part);
    section.hidden = !shown;
    if (!shown) return;
    section.querySelector("h3").replaceChildren(spoken(word), ` ${partners.length ? verb : "has no weight"}`);
    const bars = partners.map(([index, weight]) =>
      element("li", "", spoken(words[index]), barOf(weight), element("span", "figure", inFigures(weight))),
    );
    section.querySelector("ol").replaceChildren(...bars);
  }

  /** The statistics of one head as bars, the range of all the model's heads behind each. */
  showHead(record, index) {
    const statistics = Object.entries(record.heads?.statistics ?? {});
    const section = this.find("kind");
    section.hidden = index === null || !statistics.length;
    if (section.hidden) return;
    section.querySelector("h3").textContent = nameOf(record, index);
    const rows = statistics.map(([name, numbers]) => {
      const [least, most] = rangeOf(numbers);
      const [from, to] = [Math.min(least, 0), Math.max(most, least < 0 ? 0 : Number.EPSILON)];
      const place = (number) => (number - from) / (to - from);
      const track = barOf(place(numbers[index]));
      const range = element("span", "span");
      range.style.left = `${place(least) * 100}%`;
      range.style.width = `${(place(most) - place(least)) * 100}%`;
      track.prepend(range);
      const words = element("span", "unseen", `, between ${figuresOf(least)} and ${figuresOf(most)} in this model`);
      return element("li", "", name.replaceAll("_", " "), track, element("span", "figure", figuresOf(numbers[index]), words));
    });
    section.querySelector("ol").replaceChildren(...rows);
  }

  showBelief(record) {
    this.find("belief").hidden = !record.belief;
    say(this.find("belief").querySelector("p"), record.belief);
  }
}

export function rangeOf(numbers) {
  return [numbers.reduce((one, other) => Math.min(one, other)), numbers.reduce((one, other) => Math.max(one, other))];
}

/** A number of any size in two or three figures. */
export function figuresOf(number) {
  const size = Math.abs(number);
  if (size > 0 && size < 0.0005) return "<0.001";
  return number.toFixed(size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 0.0995 ? 2 : 3);
}
