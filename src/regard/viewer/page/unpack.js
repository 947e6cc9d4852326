// From the payload of the page to weights. Long maps are unpacked one after another, and each is shown as it comes.

import { Weights, columnOrderOf } from "./data.js";
import { joinedMap, joinedRecord } from "./joined.js";

const LONGEST_TURN = 25; // ms before the page may draw, and hear its reader

export function readRecords(payload) {
  return payload.records.map((sent) => {
    const record = { ...sent, sent, weights: null, largest: null, maps: [], largests: [] };
    record.columnOrder = sent.shape[1] === sent.keys.length ? columnOrderOf(sent.order) : null;
    record.levels = sent.encoding === "codes" ? Float64Array.from(sent.levels) : null;
    record.maps = (sent.heads?.maps ?? []).map(() => null);
    record.largests = (sent.heads?.largest ?? []).map(() => null);
    record.joined = sent.joined && joinedRecord(record);
    if (!record.levels) {
      for (const [list, at, text] of parcels(record)) put(record, list, at, new Weights(...sent.shape, floatsOf(text)));
    }
    return record;
  });
}

/** All that a record was sent with, as [where it goes, under which key, text]: its mean first, then each head. */
function parcels(record) {
  const { sent } = record;
  const list = [[record, "weights", sent.weights]];
  if (sent.largest) list.push([record, "largest", sent.largest]);
  sent.heads?.maps.forEach((text, index) => list.push([record.maps, index, text]));
  sent.heads?.largest.forEach((text, index) => list.push([record.largests, index, text]));
  return list;
}

/** Puts a map where it goes, and between words as well. */
function put(record, list, at, weights) {
  list[at] = weights;
  if (!record.joined) return;
  const ofWords = list === record ? record.joined : record.joined.maps;
  ofWords[at] = joinedMap(record, weights);
}

/** Whether each weight is there, not the means of rectangles. */
export function isWhole(record) {
  return record.pooled[0] === 1 && record.pooled[1] === 1;
}

export function isUnpacked(record) {
  return parcels(record).every(([list, at]) => list[at] !== null);
}

/** Unpacks what is still packed of a record and calls `arrived(done, of, index)` after each, `index` null for the mean; `wanted()` goes first. */
export async function unpackRecord(record, wanted, arrived) {
  const waiting = parcels(record).filter(([list, at]) => list[at] === null);
  const all = waiting.length;
  let resumed = performance.now();
  while (waiting.length) {
    const asked = waiting.findIndex(([list, at]) => list !== record && at === wanted());
    const [[list, at, text]] = waiting.splice(waiting[0][0] === record ? 0 : Math.max(asked, 0), 1);
    const values = await inflated(bytesOf(text), record.shape[0] * record.shape[1]);
    put(record, list, at, new Weights(...record.shape, values, record.levels));
    arrived(all - waiting.length, all, list === record ? null : at);
    if (performance.now() - resumed < LONGEST_TURN) continue;
    await new Promise((resume) => setTimeout(resume));
    resumed = performance.now();
  }
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}

function floatsOf(base64) {
  const bytes = bytesOf(base64);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

/** `length` bytes out of deflated ones. */
async function inflated(bytes, length) {
  const { readable, writable } = new DecompressionStream("deflate");
  const writer = writable.getWriter();
  const written = Promise.all([writer.write(bytes), writer.close()]);
  written.catch(() => {}); // the reader below meets the same error
  const values = new Uint8Array(length);
  const reader = readable.getReader();
  let at = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > length) throw new Error("a map is too long");
    values.set(part.value, at);
    at += part.value.length;
  }
  await written;
  if (at < length) throw new Error("a map is cut short");
  return values;
}
