// From the payload of the page to records with weights, ranks and sentences.

export function readRecords(payload) {
  return payload.records.map((record) => ({ ...record, weights: decodeWeights(record.weights) }));
}

function decodeWeights(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

export function weightAt(record, query, key) {
  return record.weights[query * record.keys.length + key];
}

/** The input words that an output word looks at most, as [key, weight], largest first. */
export function strongestKeys(record, query, count = 5) {
  return strongest(record.keys.length, (key) => weightAt(record, query, key), count);
}

/** The output words that look at an input word most, as [query, weight], largest first. */
export function strongestQueries(record, key, count = 5) {
  return strongest(record.queries.length, (query) => weightAt(record, query, key), count);
}

function strongest(length, weight, count) {
  const all = Array.from({ length }, (_, index) => [index, weight(index)]);
  all.sort((one, other) => other[1] - one[1] || one[0] - other[0]);
  return all.slice(0, count).filter(([, value]) => value > 0);
}

/** 1 for the largest weight of the row; equal weights share the better rank. */
export function rankInRow(record, query, key) {
  const own = weightAt(record, query, key);
  let larger = 0;
  for (let other = 0; other < record.keys.length; other += 1) larger += weightAt(record, query, other) > own;
  return larger + 1;
}

export function rankInWords(rank, count) {
  if (rank === 1) return `largest of ${count} in its row`;
  const last = rank % 10;
  const teen = rank % 100 > 10 && rank % 100 < 14;
  const ending = teen ? "th" : { 1: "st", 2: "nd", 3: "rd" }[last] || "th";
  return `${rank}${ending} of ${count} in its row`;
}

export function inFigures(weight) {
  return weight > 0 && weight < 0.005 ? "<0.01" : weight.toFixed(2);
}

export function goldOf(record, query, key) {
  const same = ([q, k]) => q === query && k === key;
  if (record.sure.some(same)) return "sure";
  return record.possible.some(same) ? "possible" : "";
}

/** What is said of a cell, for those who hear the page. */
export function inWords(record, query, key) {
  const weight = weightAt(record, query, key);
  const rank = rankInRow(record, query, key);
  const place = rank === 1 && weight > 0 ? "its largest" : rankInWords(rank, record.keys.length);
  const gold = goldOf(record, query, key);
  const link = gold ? `, a ${gold} gold link` : "";
  return `“${record.queries[query]}” looks at “${record.keys[key]}” with ${inFigures(weight)}, ${place}${link}`;
}

/** 256 CSS colours from the anchors of a ramp. */
export function inks(anchors) {
  const stops = anchors.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const mix = stops[low].map((value, c) => Math.round(value + (place - low) * (stops[low + 1][c] - value)));
    return `rgb(${mix.join(" ")})`;
  });
}

export function inkOf(colours, weight) {
  return colours[Math.round(255 * Math.min(Math.max(weight, 0), 1))];
}
