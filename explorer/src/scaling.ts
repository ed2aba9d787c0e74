// What full colour means: the largest number of a row or of the whole picture, of one method or of several.
import type { Cache } from "./cache";
import type { Numbers } from "./decode";
import type { MapEntry } from "./exhibit";
import type { State } from "./state";
import { largestOfRows, scored, type Aside } from "./tables";

export type Whole = (row: number, column: number) => number;

/** A picture: numbers, the limit of each row (its full colour), and numbers divided by limits. */
export interface Table {
  readonly values: Float32Array;
  readonly scores: Float32Array;
  readonly limits: Float32Array;
  readonly columns: number;
  /** What a number at a row and a column is a share of. */
  readonly whole: Whole;
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
  readonly small: ((layer: number, head: number) => Pick<Table, "scores" | "columns">) | null;
  /** The columns without colour, and what numbers are shares of; `head` is the place of a picture among those of heads. */
  readonly aside: { readonly line: Aside; readonly grid: Aside };
  readonly whole: { readonly line: Whole; readonly layers: Whole; readonly grid: Whole; readonly head: (head: number) => Whole };
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
    const scores = scored(values, columns, limits, threshold, one.aside[name === "grid" ? "grid" : "line"]);
    return { values, limits, columns, scores, whole: one.whole[name], key };
  };
  const [atLayer, atToken] = [`${choice} at ${layer}`, `${direction} ${active}`];
  return {
    line: one.line && make("line", one.columns, `${atLayer} ${atToken}`),
    layers: one.layers && make("layers", one.columns, `${choice} ${atToken}`),
    // Hovering changes lines, not grids: these are large, and kept.
    grid: one.grid && kept.get(`${atLayer} grid`, () => make("grid", one.keys, `${atLayer} grid`)),
    heads: one.heads.map((values, place) =>
      kept.get(`${atLayer} ${place}`, () => headTable(values, one, state, place, `${atLayer} ${place}`)),
    ),
  };
}

/** A picture scaled by itself. */
export function ownScores(values: Float32Array, columns: number, { scale, threshold }: State, aside: Aside): Float32Array {
  const rows = largestOfRows(values, columns, aside);
  return scored(values, columns, scale === "row" ? rows : rows.fill(largest(rows)), threshold, aside);
}

function limitsOf(one: Raw, name: "line" | "layers" | "grid", columns: number, scale: State["scale"]): Float32Array {
  const aside = one.aside[name === "grid" ? "grid" : "line"];
  const rows = largestOfRows(one[name]!, columns, aside);
  if (scale === "row") return rows;
  // A single line is part of its layer's whole map, where there is one.
  if (name !== "line" || !one.grid) return rows.fill(largest(rows));
  return rows.fill(largest(largestOfRows(one.grid, one.keys, one.aside.grid)));
}

function headTable(values: Float32Array, one: Raw, { scale, threshold }: State, head: number, key: string): Table {
  const aside = one.aside.grid;
  const rows = largestOfRows(values, one.keys, aside);
  const all = (): number => Math.max(...one.heads.map((each) => largest(largestOfRows(each, one.keys, aside))));
  const limits = scale === "row" ? rows : rows.fill(all());
  const scores = scored(values, one.keys, limits, threshold, aside);
  return { values, limits, columns: one.keys, scores, whole: one.whole.head(head), key };
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
