// Records as the page works with them: weights, ranks and sentences.

/** The weights of one map, row by row: as floats, or as codes that `levels` says the weights of. */
export class Weights {
  constructor(rows, columns, values, levels = null) {
    Object.assign(this, { rows, columns, values, levels });
  }

  at(row, column) {
    const value = this.values[row * this.columns + column];
    return this.levels ? this.levels[value] : value;
  }
}

/** The same record with another map: that of one head, say. */
export function withWeights(record, weights) {
  return Object.assign(Object.create(record), { weights });
}

/** The key that each column shows, from left to right; null where that is the order of the keys. */
export function columnOrderOf(order) {
  return order.every((key, column) => key === column) ? null : order;
}

export function weightAt(record, query, key) {
  return record.weights.at(query, key);
}

/** The input words that an output word looks at most, as [key, weight], largest first. */
export function strongestKeys(record, query, count = 5) {
  return strongest(record.weights.columns, (key) => weightAt(record, query, key), count);
}

/** The output words that look at an input word most, as [query, weight], largest first. */
export function strongestQueries(record, key, count = 5) {
  return strongest(record.weights.rows, (query) => weightAt(record, query, key), count);
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
  for (let other = 0; other < record.weights.columns; other += 1) larger += weightAt(record, query, other) > own;
  return larger + 1;
}

/** The rank in words; of weights that travelled as codes, equal ones may differ, and the rank is a range. */
export function rankInWords(record, query, key) {
  const [rank, count, own] = [rankInRow(record, query, key), record.weights.columns, weightAt(record, query, key)];
  let equal = 0;
  for (let other = 0; other < count; other += 1) equal += weightAt(record, query, other) === own;
  const last = rank + equal - 1;
  if (record.weights.levels && own > 0 && last > rank) return `${ordinal(rank)} to ${ordinal(last)} of ${count} in its row`;
  return rank === 1 ? `largest of ${count} in its row` : `${ordinal(rank)} of ${count} in its row`;
}

function ordinal(rank) {
  const teen = rank % 100 > 10 && rank % 100 < 14;
  return `${rank}${teen ? "th" : { 1: "st", 2: "nd", 3: "rd" }[rank % 10] || "th"}`;
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
  const rank = rankInWords(record, query, key);
  const place = rank.startsWith("largest") && weight > 0 ? "its largest" : rank;
  const gold = goldOf(record, query, key);
  const link = gold ? `, a ${gold} gold link` : "";
  return `“${record.queries[query]}” looks at “${record.keys[key]}” with ${inFigures(weight)}, ${place}${link}`;
}

/** The name of a map: of one head where `index` is a number, else of the mean of all. */
export function nameOf(record, index) {
  if (index === null || !record.heads) return record.heads ? "mean of all heads" : "weights";
  const { across } = record.heads;
  return `layer ${Math.floor(index / across)}, head ${index % across}`;
}

/** The places of the largest weights within some rows and columns, as [row, column], the largest first. */
export function largestWithin(weights, order, [top, bottom], [left, right], count) {
  const best = [];
  for (let row = top; row < bottom; row += 1) {
    for (let column = left; column < right; column += 1) {
      const weight = weights.at(row, order ? order[column] : column);
      if (!weight || (best.length === count && weight <= best[count - 1][0])) continue;
      const place = best.findIndex(([other]) => other < weight);
      best.splice(place < 0 ? best.length : place, 0, [weight, row, column]);
      if (best.length > count) best.pop();
    }
  }
  return best.map(([, row, column]) => [row, column]);
}
