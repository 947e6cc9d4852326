// Between whole words: what looks at a word looks at any of its tokens, and a word looks as its tokens do on average.

import { Weights, columnOrderOf } from "./data.js";

/** A record with words where `record` has tokens; its maps follow. */
export function joinedRecord(record) {
  const { joined } = record.sent;
  const maps = record.maps.map(() => null);
  return { ...record, ...joined, tokens: record, weights: null, maps, columnOrder: columnOrderOf(joined.order) };
}

/** One map of a record's tokens as a map of its words. */
export function joinedMap(record, weights) {
  const { of, shape } = record.sent.joined;
  const [rows, columns] = shape;
  const sums = new Float32Array(rows * columns);
  const counts = new Float32Array(rows);
  for (const word of of.query) counts[word] += 1;
  for (let query = 0; query < weights.rows; query += 1) {
    const from = of.query[query] * columns;
    for (let key = 0; key < weights.columns; key += 1) sums[from + of.key[key]] += weights.at(query, key);
  }
  for (let at = 0; at < sums.length; at += 1) sums[at] /= counts[Math.floor(at / columns)];
  return new Weights(rows, columns, sums);
}

/** The same place in another form of a record: of a token its word, of a word its first token. */
export function placeIn(record, other, side, index) {
  if (index === null || record === other) return index;
  return record.tokens ? record.of[side].indexOf(index) : other.of[side][index];
}
