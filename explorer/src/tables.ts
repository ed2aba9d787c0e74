// The three pictures as plain numbers: a line (one token), layers × tokens, tokens × tokens.
import type { Numbers } from "./decode";
import type { Direction } from "./exhibit";
import type { Unit } from "./units";

/** Which columns have no colour: those of special tokens. */
export type Aside = readonly boolean[];

/** Where to look in a map: positions on its axes, and the heads to take the mean of. */
export interface Place {
  readonly layer: number;
  readonly target: number;
  readonly heads: readonly number[];
}

/** What one unit draws from each of the others, or what each of the others draws from it. */
export function line(
  numbers: Numbers,
  place: Place,
  direction: Direction,
  unit: Unit,
  others: readonly Unit[],
): Float32Array {
  return direction === "draws"
    ? drawn(numbers, place, unit.pieces, others)
    : Float32Array.from(others, (other) => drawn(numbers, place, other.pieces, [unit])[0]!);
}

/** All units: row after row, what each draws from each. */
export function grid(numbers: Numbers, place: Place, queries: readonly Unit[], keys: readonly Unit[]): Float32Array {
  const table = new Float32Array(queries.length * keys.length);
  queries.forEach((query, row) => table.set(drawn(numbers, place, query.pieces, keys), row * keys.length));
  return table;
}

/** What the shares of a unit's row are shares of: the mean over its tokens and the heads, as for the numbers. */
export function total(numbers: Numbers, place: Place, queries: readonly number[]): number {
  const { entry, totals, strides } = numbers;
  // A share is one already; of others took part, it stays one of the whole.
  if (entry.quantity === "share") return 1;
  const rows = strides.query > 0 ? queries : [0];
  const heads = strides.head > 0 ? place.heads : [0];
  let sum = 0;
  for (const query of rows)
    for (const head of heads)
      sum += totals[place.layer * strides.layer + place.target * strides.target + head * strides.head + query * strides.query]!;
  return sum / (rows.length * heads.length);
}

/** Mean over the tokens that receive and over the heads, sum over the tokens of each unit that gives. */
function drawn(
  numbers: Numbers,
  place: Place,
  queries: readonly number[],
  keys: readonly Unit[],
): Float32Array {
  const { stored, steps, columns, strides } = numbers;
  const result = new Float32Array(keys.length);
  const rows = strides.query > 0 ? queries : [0];
  const heads = strides.head > 0 ? place.heads : [0];
  const share = 1 / (rows.length * heads.length);
  for (const query of rows)
    for (const head of heads) {
      const row =
        place.layer * strides.layer + place.target * strides.target + head * strides.head + query * strides.query;
      const worth = steps[row]! * share;
      const start = row * columns;
      for (let unit = 0; unit < keys.length; unit++) {
        const { pieces } = keys[unit]!;
        let sum = 0;
        for (let piece = 0; piece < pieces.length; piece++) sum += stored[start + pieces[piece]!]!;
        result[unit]! += sum * worth;
      }
    }
  return result;
}

/** The largest absolute number of each row; columns that stand aside do not count. */
export function largestOfRows(table: Float32Array, columns: number, aside: Aside): Float32Array {
  const largest = new Float32Array(table.length / columns);
  for (let place = 0; place < table.length; place++) {
    const row = Math.floor(place / columns);
    if (aside[place - row * columns]) continue;
    const size = Math.abs(table[place]!);
    if (size > largest[row]!) largest[row] = size;
  }
  return largest;
}

/** Numbers divided by the limit of their row; below the threshold 0, as in rows of zeros; NaN in columns that stand aside. */
export function scored(table: Float32Array, columns: number, limits: Float32Array, threshold: number, aside: Aside): Float32Array {
  const scores = new Float32Array(table.length);
  for (let place = 0; place < table.length; place++) {
    const row = Math.floor(place / columns);
    if (aside[place - row * columns]) {
      scores[place] = NaN;
      continue;
    }
    const limit = limits[row]!;
    const score = limit > 0 ? table[place]! / limit : 0;
    scores[place] = Math.abs(score) >= threshold ? score : 0;
  }
  return scores;
}
