// The document that Python writes and the explorer shows, and the refusal of anything else.

export type Direction = "draws" | "gives";
export type Asks = "score" | "vector" | "attention";
export type AxisName = "layer" | "target" | "head" | "query" | "key";

/** The tokens of one side of the maps: printable labels and how to write them as the text reads. */
export interface Axis {
  readonly pieces: readonly string[];
  readonly gaps: readonly string[];
  /** The tokens as the tokenizer cut them, such as ##ly; left out, the pieces. */
  readonly tokens?: readonly string[];
  readonly special: readonly number[];
  /** The word of each piece; null: unknown, or belongs to no word. */
  readonly words: readonly (number | null)[] | null;
  /** Per token [left, top, width, height] as fractions of the image, or [start, end] in seconds. */
  readonly places: readonly (readonly number[] | null)[] | null;
}

export interface Encoded {
  readonly bits: 8 | 16;
  readonly columns: number;
  /** base64 of float32, little-endian: the largest |value| of each row. */
  readonly scales: string;
  /** base64 of gzip of unsigned (or, for signed maps, signed) integers, row by row. */
  readonly values: string;
  /** The largest |decoded - true|, in units of the map. */
  readonly error: number;
}

/** One method's numbers. */
export interface MapEntry {
  readonly name: string;
  /** The name as people know it, such as GlobEnc for globenc. */
  readonly label?: string;
  readonly title: string;
  readonly formula: string;
  readonly paper: string;
  /** Where the method was published. */
  readonly link?: string;
  /** What it tells: why an output, what a vector is made of, or where attention looks. */
  readonly asks?: Asks;
  /** The same as a question to read. */
  readonly question?: string;
  readonly quantity: string;
  readonly meaning: string;
  readonly unit: string;
  readonly signed: boolean;
  readonly cumulative: boolean;
  readonly dims: readonly AxisName[];
  readonly shape: readonly number[];
  readonly layers: readonly number[] | null;
  readonly targets: readonly string[] | null;
  readonly selected: Readonly<Partial<Record<AxisName, number>>>;
  readonly facts: readonly (readonly [string, string])[];
  readonly data: Encoded;
}

export type Media =
  | { readonly kind: "image"; readonly source: string; readonly width: number; readonly height: number }
  | { readonly kind: "sound"; readonly source?: string; readonly seconds: number; readonly wave: readonly (readonly [number, number])[] };

export interface Exhibit {
  readonly format: "contextmix/exhibit";
  readonly version: 1;
  readonly title: string;
  readonly model: string;
  readonly prediction: {
    readonly label: string;
    readonly probability: number | null;
    readonly after?: string;
    readonly at?: string;
  } | null;
  readonly target: { readonly label: string; readonly foil: string | null } | null;
  /** Of a text that the model wrote: how likely it was to write each token of the queries. */
  readonly steps?: { readonly probabilities: readonly number[] } | null;
  readonly keys: Axis;
  /** null: the same tokens as the keys. */
  readonly queries: Axis | null;
  readonly start: { readonly map: number; readonly beside?: number | null; readonly layer: number | null; readonly query: number };
  readonly media: Media | null;
  readonly maps: readonly MapEntry[];
}

const AXES: readonly AxisName[] = ["layer", "target", "head", "query", "key"];

/** The document as an exhibit; throws with the reason if it is anything else. */
export function checked(document: unknown): Exhibit {
  const exhibit = document as Exhibit;
  if (typeof exhibit !== "object" || exhibit === null || exhibit.format !== "contextmix/exhibit")
    throw new Error("These data are no exhibit of contextmix.");
  if (exhibit.version !== 1)
    throw new Error(`This exhibit has version ${String(exhibit.version)}; this explorer reads version 1.`);
  refuseAxis("keys", exhibit.keys);
  if (exhibit.queries) refuseAxis("queries", exhibit.queries);
  if (!Array.isArray(exhibit.maps) || exhibit.maps.length === 0) throw new Error("This exhibit holds no map.");
  for (const map of exhibit.maps) refuseMap(map, exhibit);
  return exhibit;
}

function refuseAxis(name: string, axis: Axis): void {
  const count = axis?.pieces?.length;
  if (!count) throw new Error(`The exhibit has no ${name}.`);
  for (const field of ["gaps", "tokens", "words", "places"] as const)
    if (axis[field] && axis[field].length !== count)
      throw new Error(`${count} ${name} came with ${axis[field].length} ${field}.`);
}

function refuseMap(map: MapEntry, exhibit: Exhibit): void {
  const lengths: Partial<Record<AxisName, number>> = {
    key: exhibit.keys.pieces.length,
    query: (exhibit.queries ?? exhibit.keys).pieces.length,
  };
  if (map.layers) lengths.layer = map.layers.length;
  if (map.targets) lengths.target = map.targets.length;
  const inOrder = AXES.filter((axis) => map.dims.includes(axis));
  if (map.dims[map.dims.length - 1] !== "key" || map.dims.length !== map.shape.length || inOrder.join() !== map.dims.join())
    throw new Error(`The map ${map.name} has the axes ${map.dims.join(", ")}, which cannot be shown.`);
  map.dims.forEach((axis, place) => {
    const length = lengths[axis] ?? map.shape[place];
    if (map.shape[place] !== length)
      throw new Error(`The map ${map.name} has ${map.shape[place]} numbers along ${axis}, where ${length} fit.`);
  });
}
