// All that a reader can choose, in one small object, and how each choice changes it. Nothing here knows the page.
import type { Direction, Exhibit } from "./exhibit";

export interface State {
  /** The maps side by side, as positions in the exhibit; never empty. */
  readonly maps: readonly number[];
  /** Number of the block. */
  readonly layer: number;
  readonly head: number | "mean" | "each" | "all";
  readonly target: number;
  /** The token in question: it receives ("draws") or gives. */
  readonly token: number;
  /** A pinned token stays while the pointer moves on; then the pointer asks about one other token. */
  readonly pinned: boolean;
  readonly pointed: number | null;
  readonly direction: Direction;
  readonly words: boolean;
  /** Special tokens: outside the colour scale, on it like all others, or not shown. */
  readonly special: "aside" | "coloured" | "hidden";
  /** Numbers as the method gives them, or as shares of their row. */
  readonly raw: boolean;
  /** Share of the largest below which nothing is coloured. */
  readonly threshold: number;
  readonly scale: "row" | "table";
  /** Whether methods with the same unit share their scale. */
  readonly shared: boolean;
  readonly theme: "auto" | "light" | "dark";
  readonly large: boolean;
  /** How an image is shown: without its colours, and how strongly scores cover it (0 to 1). */
  readonly grey: boolean;
  readonly cover: number;
  readonly playing: boolean;
}

export type Action =
  | { type: "point"; token: number | null }
  | { type: "ask"; token: number }
  | { type: "look"; token: number | null }
  | { type: "pair"; token: number; other: number }
  | { type: "pin"; token: number }
  | { type: "unpin" }
  | { type: "turn" }
  | { type: "layer"; layer: number }
  | { type: "tick" }
  | { type: "play"; playing: boolean }
  | { type: "method"; map: number; alone: boolean }
  | { type: "beside" }
  | { type: "set"; change: Partial<Pick<State, Settable>> };

type Settable = "head" | "target" | "words" | "special" | "raw" | "threshold" | "scale" | "shared" | "theme" | "large" | "grey" | "cover";

export function initial(exhibit: Exhibit): State {
  const { map, query, beside: other } = exhibit.start;
  const { layer } = exhibit.start;
  const first = map in exhibit.maps ? map : 0;
  const more = typeof other === "number" && other in exhibit.maps && other !== first ? [other] : [];
  const maps = [first, ...more].sort((one, two) => one - two);
  const layers = layersOf(exhibit, maps);
  return {
    maps,
    layer: layer !== null && layers.includes(layer) ? layer : (layers[layers.length - 1] ?? layer ?? 0),
    head: "mean",
    target: explained(exhibit),
    token: query,
    pinned: false,
    pointed: null,
    direction: "draws",
    words: false,
    special: "aside",
    raw: false,
    threshold: 0,
    scale: "row",
    shared: false,
    theme: "auto",
    large: false,
    grey: false,
    cover: 0.8,
    playing: false,
  };
}

/** The output that is explained or, where none is named, predicted: the one to show of those that a map holds. */
function explained({ maps, target, prediction }: Exhibit): number {
  const names = maps.find(({ targets }) => targets)?.targets ?? [];
  return Math.max(0, names.indexOf((target ?? prediction)?.label ?? ""));
}

/** The blocks that the chosen maps know, in order. */
export function layersOf(exhibit: Exhibit, maps: readonly number[]): number[] {
  const all = new Set(maps.flatMap((map) => exhibit.maps[map]?.layers ?? []));
  return [...all].sort((one, other) => one - other);
}

/** How many tokens can be asked about in a direction. */
export function lengthOf(exhibit: Exhibit, direction: Direction): number {
  return (direction === "draws" ? (exhibit.queries ?? exhibit.keys) : exhibit.keys).pieces.length;
}

export function reduce(state: State, action: Action, exhibit: Exhibit): State {
  switch (action.type) {
    case "point":
      return point(state, action.token, exhibit);
    case "ask":
      return { ...state, token: action.token };
    case "look":
      return state.pointed === action.token ? state : { ...state, pointed: action.token };
    case "pair":
      return state.pinned ? { ...state, pointed: action.other } : { ...state, token: action.token, pointed: action.other };
    case "pin": {
      const same = state.pinned && state.token === action.token;
      return { ...state, token: action.token, pinned: !same, pointed: null };
    }
    case "unpin":
      return { ...state, pinned: false, pointed: null };
    case "turn":
      return turned(state, exhibit);
    case "layer":
      return { ...state, layer: action.layer, playing: false };
    case "tick":
      return ticked(state, exhibit);
    case "play":
      return { ...state, playing: action.playing && layersOf(exhibit, state.maps).length > 1 };
    case "method":
      return chosen(state, action.map, action.alone, exhibit);
    case "beside":
      return beside(state, exhibit);
    case "set":
      return { ...state, ...action.change };
  }
}

function point(state: State, token: number | null, exhibit: Exhibit): State {
  if (token === null) return state.pointed === null ? state : { ...state, pointed: null };
  // Where queries are other tokens than keys, the coloured text is not the one that is chosen from.
  if (state.pinned || exhibit.queries) return { ...state, pointed: token };
  return { ...state, token, pointed: null };
}

function turned(state: State, exhibit: Exhibit): State {
  const direction = state.direction === "draws" ? "gives" : "draws";
  const token = exhibit.queries
    ? Math.min(state.pointed ?? state.token, lengthOf(exhibit, direction) - 1)
    : state.token;
  return { ...state, direction, token, pointed: null };
}

/** The next layer; after the last one the first. */
function ticked(state: State, exhibit: Exhibit): State {
  const layers = layersOf(exhibit, state.maps);
  if (!state.playing || layers.length === 0) return state;
  return { ...state, layer: layers[(layers.indexOf(state.layer) + 1) % layers.length]! };
}

function chosen(state: State, map: number, alone: boolean, exhibit: Exhibit): State {
  const without = state.maps.filter((each) => each !== map);
  const added = without.length < state.maps.length ? without : [...state.maps, map].sort((one, other) => one - other);
  const maps = alone || added.length === 0 ? [map] : added;
  const layers = layersOf(exhibit, maps);
  const layer = layers.length === 0 || layers.includes(state.layer) ? state.layer : layers[layers.length - 1]!;
  return { ...state, maps, layer };
}

/** One method more beside those that are shown, rather one that answers another question; of several, the first alone. */
function beside(state: State, exhibit: Exhibit): State {
  if (state.maps.length > 1) return chosen(state, state.maps[0]!, true, exhibit);
  const others = exhibit.maps.map((_, map) => map).filter((map) => !state.maps.includes(map));
  const question = exhibit.maps[state.maps[0]!]?.question;
  const next = others.find((map) => exhibit.maps[map]!.question !== question) ?? others[0];
  return next === undefined ? state : chosen(state, next, false, exhibit);
}
