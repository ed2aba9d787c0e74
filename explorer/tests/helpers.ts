// Small exhibits with numbers that can be worked out by hand.
import { gzipSync } from "node:zlib";
import type { Axis, AxisName, Exhibit, MapEntry } from "../src/exhibit";

export const KEYS: Axis = {
  pieces: ["[CLS]", "deep", "ly", "film"],
  gaps: ["", " ", "", " "],
  tokens: ["[CLS]", "deep", "##ly", "film"],
  special: [0],
  words: [null, 0, 0, 1],
  places: null,
};

/** The encoding, written down once more from its definition: value = stored / limit * scale. */
export function entry(dims: AxisName[], shape: number[], values: number[], change: Partial<MapEntry> = {}, bits: 8 | 16 = 16): MapEntry {
  const signed = change.signed ?? false;
  const limit = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  const columns = shape[shape.length - 1]!;
  const rows = values.length / columns;
  const scales = Buffer.alloc(4 * rows);
  const stored = Buffer.alloc((values.length * bits) / 8);
  for (let row = 0; row < rows; row++) {
    const part = values.slice(row * columns, (row + 1) * columns);
    const scale = Math.max(...part.map(Math.abs));
    scales.writeFloatLE(scale, 4 * row);
    part.forEach((value, column) => {
      const whole = scale === 0 ? 0 : Math.round((value / scale) * limit);
      const at = row * columns + column;
      if (bits === 8) signed ? stored.writeInt8(whole, at) : stored.writeUInt8(whole, at);
      else signed ? stored.writeInt16LE(whole, 2 * at) : stored.writeUInt16LE(whole, 2 * at);
    });
  }
  const data = { bits, columns, scales: scales.toString("base64"), values: gzipSync(stored).toString("base64"), error: 0 };
  return {
    name: "one", title: "one", formula: "", paper: "", quantity: "norm", meaning: "", unit: "units", signed,
    cumulative: false, dims, shape, targets: null, selected: {}, facts: [], data,
    layers: dims.includes("layer") ? Array.from({ length: shape[0]! }, (_, layer) => layer) : null,
    ...change,
  };
}

export function exhibit(maps: MapEntry[], change: Partial<Exhibit> = {}): Exhibit {
  return {
    format: "contextmix/exhibit", version: 1, title: "", model: "", prediction: null, target: null, keys: KEYS, queries: null,
    start: { map: 0, layer: null, query: 0 }, media: null, maps, ...change,
  };
}

/** 1, 2, 3, … */
export function counting(count: number): number[] {
  return Array.from({ length: count }, (_, place) => place + 1);
}
