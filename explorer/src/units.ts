// What one cell of a picture stands for: a token, or the tokens of a word.
import type { Axis } from "./exhibit";
import { visible } from "./words";

export interface Unit {
  /** Positions of its tokens. */
  readonly pieces: readonly number[];
  /** How it is written in the text, after its gap, and how it is named alone (##ly). */
  readonly label: string;
  readonly gap: string;
  readonly name: string;
  readonly special: boolean;
  readonly place: readonly number[] | null;
}

/** The units of an axis: tokens or words, with or without special tokens (all stay if no other is left). */
export function unitsOf(axis: Axis, words: boolean, special: boolean): Unit[] {
  const marked = new Set(axis.special);
  const all = (words && axis.words ? wordGroups(axis, marked) : axis.pieces.map((_, position) => [position])).map(
    (pieces) => unit(axis, pieces, marked),
  );
  const shown = special ? all : all.filter((each) => !each.special);
  return shown.length > 0 ? shown : all;
}

/** Which unit a token is in; -1 if it is not shown. */
export function unitAt(units: readonly Unit[], position: number): number {
  return units.findIndex((unit) => unit.pieces.includes(position));
}

function unit(axis: Axis, pieces: readonly number[], marked: ReadonlySet<number>): Unit {
  const first = pieces[0]!;
  const written = pieces.map((position) => (position === first ? "" : axis.gaps[position]!) + axis.pieces[position]!);
  const label = visible(written.join(""));
  return {
    pieces,
    label,
    gap: axis.gaps[first]!,
    name: pieces.length === 1 ? named(visible(axis.tokens?.[first] ?? axis.pieces[first]!)) : label,
    special: marked.has(first),
    place: pieces.length === 1 ? (axis.places?.[first] ?? null) : null,
  };
}

/** Some tokenizers write the space before a word into its token: it is no part of the name. */
function named(token: string): string {
  return token.trim() || token;
}

/** Neighbours with the same word; special tokens and tokens without a word stay alone. */
function wordGroups(axis: Axis, marked: ReadonlySet<number>): number[][] {
  const groups: number[][] = [];
  let last: number | null = null;
  axis.pieces.forEach((_, position) => {
    const word = marked.has(position) ? null : (axis.words![position] ?? null);
    if (word !== null && word === last) groups[groups.length - 1]!.push(position);
    else groups.push([position]);
    last = word;
  });
  return groups;
}
