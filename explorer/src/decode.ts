// From the compressed text of an exhibit to numbers, one map at a time and only when it is looked at.
import type { AxisName, Encoded, MapEntry } from "./exhibit";

type Stored = Uint8Array | Uint16Array | Int8Array | Int16Array;

/** One map's numbers as they are stored; `at` gives them in the map's unit. */
export interface Numbers {
  readonly entry: MapEntry;
  readonly stored: Stored;
  /** What one step of a stored number is worth, per row. */
  readonly steps: Float32Array;
  /** The sum of the absolute numbers of each row: what a share is a share of. */
  readonly totals: Float32Array;
  readonly columns: number;
  /** How many rows apart neighbours on an axis lie; 0 where the map lacks the axis. */
  readonly strides: Readonly<Record<AxisName, number>>;
}

/** Unpack a map; throws with a sentence for the reader if that is impossible. */
export async function decode(entry: MapEntry): Promise<Numbers> {
  const { bits, columns, scales, values } = entry.data;
  const limit = entry.signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  const steps = littleEndian(bytesOf(scales, entry), 4, (view, at) => view.getFloat32(at, true), Float32Array);
  const stored = integers(await gunzip(bytesOf(values, entry), entry), entry.data, entry.signed);
  const count = entry.shape.reduce((product, length) => product * length, 1);
  if (stored.length !== count || steps.length * columns !== count)
    throw new Error(
      `The numbers of ${entry.name} are damaged: ${count} should be there, and there are ${stored.length} in ` +
        `${steps.length} rows. Write the report again.`,
    );
  if (!steps.every((scale) => scale >= 0 && scale < Infinity))
    throw new Error(`The numbers of ${entry.name} are damaged: a row has no finite scale. Write the report again.`);
  for (let row = 0; row < steps.length; row++) steps[row] = steps[row]! / limit;
  return { entry, stored, steps, totals: totalsOf(stored, steps, columns), columns, strides: stridesOf(entry) };
}

function totalsOf(stored: Stored, steps: Float32Array, columns: number): Float32Array {
  const totals = new Float32Array(steps.length);
  for (let row = 0, at = 0; row < totals.length; row++) {
    let sum = 0;
    for (const end = at + columns; at < end; at++) sum += Math.abs(stored[at]!);
    totals[row] = sum * steps[row]!;
  }
  return totals;
}

function stridesOf(entry: MapEntry): Record<AxisName, number> {
  const strides: Record<AxisName, number> = { layer: 0, target: 0, head: 0, query: 0, key: 0 };
  let rows = 1;
  for (let place = entry.dims.length - 2; place >= 0; place--) {
    strides[entry.dims[place]!] = rows;
    rows *= entry.shape[place]!;
  }
  return strides;
}

function bytesOf(base64: string, entry: MapEntry): Uint8Array<ArrayBuffer> {
  try {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
    return bytes;
  } catch {
    throw new Error(`The numbers of ${entry.name} are damaged: they are no base64. Write the report again.`);
  }
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>, entry: MapEntry): Promise<ArrayBuffer> {
  if (typeof DecompressionStream === "undefined")
    throw new Error(
      "This browser cannot unpack the numbers (it lacks DecompressionStream). " +
        "Chrome 80, Firefox 113, Safari 16.4 or newer can.",
    );
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).arrayBuffer();
  } catch {
    throw new Error(`The numbers of ${entry.name} are damaged: they cannot be unpacked. Write the report again.`);
  }
}

function integers(buffer: ArrayBuffer, { bits }: Encoded, signed: boolean): Stored {
  if (bits === 8) return signed ? new Int8Array(buffer) : new Uint8Array(buffer);
  const bytes = new Uint8Array(buffer);
  return signed
    ? littleEndian(bytes, 2, (view, at) => view.getInt16(at, true), Int16Array)
    : littleEndian(bytes, 2, (view, at) => view.getUint16(at, true), Uint16Array);
}

/** Typed arrays have the byte order of the machine; the document has one order. */
function littleEndian<T extends Float32Array | Int16Array | Uint16Array>(
  bytes: Uint8Array,
  size: number,
  read: (view: DataView, at: number) => number,
  Typed: new (length: number) => T,
): T {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers = new Typed(Math.floor(bytes.length / size));
  for (let place = 0; place < numbers.length; place++) numbers[place] = read(view, place * size);
  return numbers;
}
