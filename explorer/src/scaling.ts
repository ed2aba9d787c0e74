// What full colour means: the largest number of a row or of the whole picture, of one method or of several.
import type { Cache } from "./cache";
import type { Numbers } from "./decode";
import type { MapEntry } from "./exhibit";
import type { State } from "./state";
import { largestOfRows, scored } from "./tables";

/** A picture: numbers, the limit of each row (its full colour), and numbers divided by limits. */
export interface Table {
  readonly values: Float32Array;
  readonly scores: Float32Array;
  readonly limits: Float32Array;
  readonly columns: number;
  /** Changes exactly when the picture does. */
  readonly key: string;
}

/** A method's numbers before they are scaled; `columns` are those of line and layers, `keys` those of a grid. */
export interface Raw {
  readonly index: number;
  readonly entry: MapEntry;
  readonly numbers: Numbers | null;
  readonly failure: string | null;
  readonly columns: number;
  readonly keys: number;
  readonly line: Float32Array | null;
  readonly layers: Float32Array | null;
  readonly grid: Float32Array | null;
  readonly heads: readonly Float32Array[];
}

export interface Scaled {
  readonly line: Table | null;
  readonly layers: Table | null;
  readonly grid: Table | null;
  readonly heads: readonly Table[];
}

/** Scale one method's pictures, where asked together with all methods of the same unit. */
export function scaledTables(one: Raw, all: readonly Raw[], state: State, active: number, kept: Cache<Table>): Scaled {
  const group = state.shared ? all.filter((each) => each.numbers && sameUnit(each.entry, one.entry)) : [one];
  const { words, special, target, scale, threshold, head, layer, direction } = state;
  const choice = [one.index, group.map((each) => each.index), words, special, target, scale, threshold, head].join(" ");
  const make = (name: "line" | "layers" | "grid", columns: number, key: string): Table => {
    const values = one[name]!;
    const alike = group.filter((each) => each[name]?.length === values.length);
    const limits = alike.map((each) => limitsOf(each, name, columns, scale)).reduce(larger);
    return { values, limits, columns, scores: scored(values, columns, limits, threshold), key };
  };
  const [atLayer, atToken] = [`${choice} at ${layer}`, `${direction} ${active}`];
  return {
    line: one.line && make("line", one.columns, `${atLayer} ${atToken}`),
    layers: one.layers && make("layers", one.columns, `${choice} ${atToken}`),
    // Hovering changes lines, not grids: these are large, and kept.
    grid: one.grid && kept.get(`${atLayer} grid`, () => make("grid", one.keys, `${atLayer} grid`)),
    heads: one.heads.map((values, place) =>
      kept.get(`${atLayer} ${place}`, () => headTable(values, one, state, `${atLayer} ${place}`)),
    ),
  };
}

function limitsOf(one: Raw, name: "line" | "layers" | "grid", columns: number, scale: State["scale"]): Float32Array {
  const rows = largestOfRows(one[name]!, columns);
  if (scale === "row") return rows;
  // A single line is part of its layer's whole map, where there is one.
  return rows.fill(largest(name === "line" ? (one.grid ?? one.line!) : one[name]!));
}

function headTable(values: Float32Array, one: Raw, { scale, threshold }: State, key: string): Table {
  const rows = largestOfRows(values, one.keys);
  const limits = scale === "row" ? rows : rows.fill(Math.max(...one.heads.map(largest)));
  return { values, limits, columns: one.keys, scores: scored(values, one.keys, limits, threshold), key };
}

function larger(one: Float32Array, other: Float32Array): Float32Array {
  return one.map((limit, row) => Math.max(limit, other[row]!));
}

function largest(values: Float32Array): number {
  let found = 0;
  for (let place = 0; place < values.length; place++) found = Math.max(found, Math.abs(values[place]!));
  return found;
}

/** Whether one scale may serve both. */
export function sameUnit(one: MapEntry, other: MapEntry): boolean {
  return one.quantity === other.quantity && one.unit === other.unit && one.signed === other.signed;
}
