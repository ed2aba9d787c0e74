// What is drawn, as plain data: from the exhibit, the numbers that are there, and the reader's choices.
import { Cache } from "./cache";
import type { Numbers } from "./decode";
import type { AxisName, Exhibit, MapEntry } from "./exhibit";
import { ownScores, scaledTables, type Raw, type Table, type Whole } from "./scaling";
import type { State } from "./state";
import { grid, line, total, type Place } from "./tables";
import { unitAt, unitsOf, type Unit } from "./units";

export type Loaded = Numbers | Error | undefined;
export type Theme = "light" | "dark";

/** One method's panel; its pictures are null while the numbers are not there, or where the map lacks the axis. */
export interface Panel {
  readonly index: number;
  readonly entry: MapEntry;
  readonly numbers: Numbers | null;
  readonly failure: string | null;
  readonly line: Table | null;
  readonly layers: Table | null;
  readonly grid: Table | null;
  /** One picture per head, where each head is asked for. */
  readonly heads: readonly Table[];
  /** A picture of a layer (its place) and a head, where all are asked for; null elsewhere. */
  readonly small: ((layer: number, head: number) => Pick<Table, "scores" | "columns">) | null;
}

export interface Model {
  readonly exhibit: Exhibit;
  readonly state: State;
  readonly theme: Theme;
  readonly queries: readonly Unit[];
  readonly keys: readonly Unit[];
  /** The side that is asked about, and the side that is coloured. */
  readonly asked: readonly Unit[];
  readonly coloured: readonly Unit[];
  /** The unit in question among those asked, and the one pointed at among those coloured (-1: none). */
  readonly active: number;
  readonly pointed: number;
  readonly panels: readonly Panel[];
}

export function has(entry: MapEntry, axis: AxisName): boolean {
  return entry.dims.includes(axis);
}

export function lengthAlong(entry: MapEntry, axis: AxisName): number {
  return has(entry, axis) ? entry.shape[entry.dims.indexOf(axis)]! : 0;
}

/** Makes models of one exhibit, and keeps what the next one may need again. */
export class Modeller {
  private readonly units = new Cache<Unit[]>(8);
  private readonly grids = new Cache<Float32Array>(64);
  private readonly tables = new Cache<Table>(64);

  constructor(private readonly exhibit: Exhibit) {}

  make(state: State, loaded: readonly Loaded[], theme: Theme): Model {
    const queries = this.unitsOn("queries", state);
    const keys = this.unitsOn("keys", state);
    const [asked, coloured] = state.direction === "draws" ? [queries, keys] : [keys, queries];
    const active = Math.max(0, unitAt(asked, state.token));
    const pointed = state.pointed === null ? -1 : unitAt(coloured, state.pointed);
    const raw = state.maps.map((index) => this.raw(state, loaded[index], index, queries, keys, active));
    const panels = raw.map((each) => ({
      index: each.index,
      entry: each.entry,
      numbers: each.numbers,
      failure: each.failure,
      ...scaledTables(each, raw, state, active, this.tables),
      small: each.small,
    }));
    return { exhibit: this.exhibit, state, theme, queries, keys, asked, coloured, active, pointed, panels };
  }

  private unitsOn(side: "queries" | "keys", { words, special }: State): Unit[] {
    const axis = (side === "queries" ? this.exhibit.queries : null) ?? this.exhibit.keys;
    const name = axis === this.exhibit.keys ? "keys" : "queries";
    const shown = special !== "hidden";
    return this.units.get(`${name} ${words} ${shown}`, () => unitsOf(axis, words, shown));
  }

  private raw(
    state: State,
    found: Loaded,
    index: number,
    queries: readonly Unit[],
    keys: readonly Unit[],
    active: number,
  ): Raw {
    const entry = this.exhibit.maps[index]!;
    const numbers = found instanceof Error || !found ? null : found;
    const failure = found instanceof Error ? found.message : null;
    const rows = has(entry, "query");
    const direction = rows ? state.direction : "draws";
    const [asked, coloured] = direction === "draws" ? [queries, keys] : [keys, queries];
    const here = entry.layers ? entry.layers.indexOf(state.layer) : 0;
    const places = (entry.layers ?? [0]).map((_, layer) => placeOf(entry, state, layer));
    const place = places[here];
    const aside = { line: marked(coloured, state), grid: marked(keys, state) };
    const of = (at: Place | undefined, query: number): number =>
      numbers && at ? total(numbers, at, queries[query]?.pieces ?? [0]) : 0;
    const whole = wholes(direction, active, places, place, of);
    const nothing = { index, entry, numbers, failure, columns: coloured.length, keys: keys.length, aside, whole };
    if (!numbers) return { ...nothing, line: null, layers: null, grid: null, heads: [], small: null };
    const ask = (at: Place): Float32Array => line(numbers, at, direction, asked[active] ?? asked[0]!, coloured);
    const all = (heads: readonly number[]): Float32Array =>
      this.grids.get(`${index} ${state.layer} ${state.words} ${state.special} ${state.target} ${heads.join()}`, () =>
        grid(numbers, { ...place!, heads }, queries, keys),
      );
    const heads = lengthAlong(entry, "head");
    // Not kept: all of them together may be many.
    const small = (layer: number, head: number) => {
      const values = grid(numbers, { ...places[layer]!, heads: [head] }, queries, keys);
      return { scores: ownScores(values, keys.length, state, aside.grid), columns: keys.length };
    };
    return {
      ...nothing,
      line: place ? ask(place) : null,
      layers: places.length > 1 ? joined(places.map(ask)) : null,
      grid: place && rows ? all(place.heads) : null,
      small: rows && state.head === "all" && places.length > 1 && heads > 0 ? small : null,
      heads: place && rows && state.head === "each" ? allHeads(entry).map((head) => all([head])) : [],
    };
  }
}

/** Special tokens stand aside of the scale, unless a reader wants them on it or there is nothing else. */
function marked(units: readonly Unit[], { special }: State): boolean[] {
  const aside = special === "aside" && units.some((unit) => !unit.special);
  return units.map((unit) => aside && unit.special);
}

/** What numbers are shares of: the row of who receives, in each layer and head its own. */
function wholes(
  direction: State["direction"],
  active: number,
  places: readonly Place[],
  place: Place | undefined,
  of: (at: Place | undefined, query: number) => number,
): Raw["whole"] {
  const receiver = (column: number): number => (direction === "draws" ? active : column);
  const grid: Whole = (row) => of(place, row);
  return {
    line: (_, column) => of(place, receiver(column)),
    layers: (row, column) => of(places[row], receiver(column)),
    grid,
    head: (head) => (row) => of(place && { ...place, heads: [head] }, row),
  };
}

function placeOf(entry: MapEntry, state: State, layer: number): Place {
  const target = Math.min(state.target, Math.max(0, lengthAlong(entry, "target") - 1));
  const one = typeof state.head === "number" && state.head < lengthAlong(entry, "head");
  return { layer, target, heads: one ? [state.head as number] : allHeads(entry) };
}

function allHeads(entry: MapEntry): number[] {
  return Array.from({ length: lengthAlong(entry, "head") }, (_, head) => head);
}

function joined(rows: readonly Float32Array[]): Float32Array {
  const width = rows[0]!.length;
  const table = new Float32Array(rows.length * width);
  rows.forEach((row, place) => table.set(row, place * width));
  return table;
}
