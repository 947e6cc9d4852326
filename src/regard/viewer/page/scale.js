// From weight to ink: linear for a short text, logarithmic beyond, and the scale says which.

const LONG = 64; // tokens from which a weight of 1 / tokens could no longer be seen on a linear scale

/** 256 colours between the anchors of a ramp, as [red, green, blue]. */
function rampOf(anchors) {
  const stops = anchors.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return stops[low].map((value, c) => Math.round(value + (place - low) * (stops[low + 1][c] - value)));
  });
}

/** Whether a record is drawn on a logarithmic scale: as somebody chose, else by its length. */
export function isLogarithmic(record, choice) {
  return choice === "auto" ? Math.max(record.queries.length, record.keys.length) > LONG : choice === "log";
}

export class Inks {
  /** `anchors` are hex colours from weight 0 to 1; `floor` is where a logarithmic scale begins, or 0 for a linear one; weights below `threshold` get no ink. */
  constructor(anchors, floor = 0, threshold = 0) {
    Object.assign(this, { floor, threshold });
    this.colours = rampOf(anchors);
    this.gradient = `linear-gradient(to right, ${anchors.map((hex) => `#${hex}`).join(", ")})`;
    this.css = this.colours.map((rgb) => `rgb(${rgb.join(" ")})`);
    this.pixels = Uint32Array.from(this.colours, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
  }

  static floorFor(record) {
    return Math.min(1e-3, 0.1 / Math.max(record.keys.length, 1));
  }

  /** Where a weight stands on the ramp, 0 to 255; only nothing is 0 on a logarithmic scale. */
  step(weight) {
    if (!(weight > 0) || weight < this.threshold) return 0;
    if (!this.floor) return Math.round(255 * Math.min(weight, 1));
    return Math.round(255 * Math.min(Math.max(1 - Math.log(weight) / Math.log(this.floor), 0.02), 1));
  }

  of(weight) {
    return this.css[this.step(weight)];
  }

  /** The pixel of each code, where weights are codes. */
  pixelsOf(levels) {
    return Uint32Array.from(levels, (weight) => this.pixels[this.step(weight)]);
  }

  /** A map as an image of one pixel a weight, `order` giving the column that each is taken from. */
  image(weights, order) {
    const { rows, columns, values, levels } = weights;
    const image = new ImageData(Math.max(columns, 1), Math.max(rows, 1));
    const out = new Uint32Array(image.data.buffer);
    const ofCode = levels && this.pixelsOf(levels);
    const nothing = this.pixels[0];
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const value = values[row * columns + (order ? order[column] : column)];
        const pixel = ofCode ? ofCode[value] : this.pixels[this.step(value)];
        out[row * columns + column] = pixel === nothing ? 0 : pixel; // see-through, so that a grid shows
      }
    }
    return image;
  }

  /** A map no larger than `size` pixels each way: the largest, or the mean, of the weights that share a pixel. */
  thumbnail(weights, order, size, pooling) {
    const { rows, columns, levels } = weights;
    const [high, wide] = [Math.max(1, Math.min(rows, size)), Math.max(1, Math.min(columns, size))];
    const pooled = (pooling === "mean" ? meansOf : largestOf)(weights, order, high, wide);
    const image = new ImageData(wide, high);
    const out = new Uint32Array(image.data.buffer);
    const ofCode = levels && pooling !== "mean" ? this.pixelsOf(levels) : null;
    for (let at = 0; at < out.length; at += 1) {
      out[at] = ofCode ? ofCode[pooled[at]] : this.pixels[this.step(pooled[at])];
    }
    return image;
  }
}

/** For each column, or row, of a map the pixel that it falls on. */
function targets(count, size) {
  return Int32Array.from({ length: count }, (_, index) => Math.floor((index * size) / count));
}

/** The largest of the weights, or of their codes, that share a pixel. */
function largestOf({ rows, columns, values }, order, high, wide) {
  const pooled = new values.constructor(high * wide);
  const [across, down] = [targets(columns, wide), targets(rows, high)];
  for (let row = 0; row < rows; row += 1) {
    const [from, to] = [row * columns, down[row] * wide];
    for (let column = 0; column < columns; column += 1) {
      const value = values[from + (order ? order[column] : column)];
      const at = to + across[column];
      if (value > pooled[at]) pooled[at] = value;
    }
  }
  return pooled;
}

function meansOf({ rows, columns, values, levels }, order, high, wide) {
  const [sums, counts] = [new Float64Array(high * wide), new Float64Array(high * wide)];
  const [across, down] = [targets(columns, wide), targets(rows, high)];
  for (let row = 0; row < rows; row += 1) {
    const [from, to] = [row * columns, down[row] * wide];
    for (let column = 0; column < columns; column += 1) {
      const value = values[from + (order ? order[column] : column)];
      sums[to + across[column]] += levels ? levels[value] : value;
      counts[to + across[column]] += 1;
    }
  }
  return sums.map((sum, at) => sum / counts[at]);
}
