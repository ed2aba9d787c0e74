// The words on the page: what is asked, what colours mean, and what the numbers are.
import type { MapEntry } from "./exhibit";
import { has, lengthAlong, type Model, type Panel } from "./model";
import type { Unit } from "./units";
import { margin, number, percent, quoted } from "./words";

const MOST = 4;

/** The name of a token; with its place where the name alone would not tell which. */
export function named(units: readonly Unit[], place: number): string {
  const unit = units[place];
  if (!unit) return "";
  const alone = units.every((other, at) => at === place || other.name !== unit.name);
  return quoted(unit.name) + (alone ? "" : ` (position ${unit.pieces[0]!})`);
}

function unitName({ state }: Model): string {
  return state.words ? "word" : "token";
}

/** What is asked, in words. */
export function question(model: Model): string {
  const { asked, active, exhibit, state } = model;
  const entries = state.maps.map((map) => exhibit.maps[map]!);
  if (!entries.some((entry) => has(entry, "query"))) return subject(entries[0]!, model);
  const name = named(asked, active);
  return state.direction === "draws" ? `What ${name} draws from each ${unitName(model)}` : `What draws from ${name}`;
}

/** What a panel shows where it cannot answer the question of the page. */
export function subject(entry: MapEntry, model: Model): string {
  if (has(entry, "query")) return question(model);
  const { query } = entry.selected;
  const axis = model.exhibit.queries ?? model.exhibit.keys;
  if (query !== undefined) return `What ${quoted(axis.pieces[query] ?? "")} draws from each ${unitName(model)}`;
  const { target } = model.exhibit;
  const name = entry.targets?.[Math.min(model.state.target, entry.targets.length - 1)] ?? target?.label;
  const foil = !entry.targets && target?.foil ? ` over ${quoted(target.foil)}` : "";
  return name ? `What each ${unitName(model)} did for ${quoted(name)}${foil}` : `What each ${unitName(model)} did for the output`;
}

/** Where in the model: layer and heads. */
export function whereabouts({ entry }: Panel, { state }: Model): string {
  const layer = entry.layers ? state.layer : entry.selected.layer;
  const parts: string[] = [];
  if (layer !== undefined)
    parts.push(entry.cumulative ? `from the input up to layer ${layer}` : `in layer ${layer} alone`);
  const heads = lengthAlong(entry, "head");
  if (heads > 0) parts.push(typeof state.head === "number" && state.head < heads ? `head ${state.head}` : `mean of ${heads} heads`);
  else if (entry.selected.head !== undefined) parts.push(`head ${entry.selected.head}`);
  const target = entry.targets?.[Math.min(state.target, entry.targets.length - 1)];
  if (target !== undefined && has(entry, "query")) parts.push(`for ${quoted(target)}`);
  return parts.join(", ");
}

/** How numbers become colours. */
export function scaling({ entry, line }: Panel, { state, panels }: Model): string {
  const many = state.shared && panels.length > 1 ? ", over all methods shown with this unit" : "";
  const size = line ? ` (text: ${number(line.limits[0]!)})` : "";
  const sentences = [
    state.scale === "row"
      ? `Each row has its own scale: full colour is its largest number${many}${size}.`
      : `One scale per picture: full colour is its largest number${many}; the text has that of its layer’s map${size}.`,
    entry.signed ? "Red adds, blue removes." : "",
    state.threshold > 0 ? `Below ${percent(state.threshold)} of full colour nothing is coloured.` : "",
    state.words ? "Words: the sum over tokens that give, the mean over tokens that receive." : "",
    state.special ? "" : "Special tokens are hidden.",
  ];
  return sentences.filter(Boolean).join(" ");
}

export function unitOf({ unit }: MapEntry): string {
  return unit && unit !== "1" ? ` ${unit}` : "";
}

/** One number with its unit and what rounding may have changed. */
export function amount(value: number, { entry }: Panel, largest: number): string {
  return `${number(value, Math.max(largest, Math.abs(value)))}${margin(entry.data.error)}${unitOf(entry)}`;
}

/** Who receives ← who gives: number. */
export function pair(model: Model, query: number, key: number, text: string): string {
  return `${named(model.queries, query)} ← ${named(model.keys, key)}: ${text}`;
}

/** The number that is pointed at, or null if none is. */
export function readout(panel: Panel, model: Model): string | null {
  const { active, pointed, state } = model;
  if (!panel.line) return null;
  const largest = panel.line.limits[0]!;
  if (!has(panel.entry, "query")) {
    const at = pointed >= 0 ? pointed : active;
    const value = panel.line.values[at];
    return value === undefined || state.direction === "gives"
      ? null
      : `${named(model.keys, at)}: ${amount(value, panel, largest)}`;
  }
  if (pointed < 0) return null;
  const [query, key] = state.direction === "draws" ? [active, pointed] : [pointed, active];
  return pair(model, query, key, amount(panel.line.values[pointed]!, panel, largest));
}

/** The strongest tokens, or why there are none. */
export function answer(panel: Panel, model: Model): string {
  const { line, failure, numbers, entry } = panel;
  if (failure !== null) return failure;
  if (!numbers) return "Unpacking numbers …";
  if (!line) return `This map has no layer ${model.state.layer}.`;
  const units = has(entry, "query") ? model.coloured : model.keys;
  const most = strongest(line.values, MOST).map(
    (place) => `${named(units, place)} ${number(line.values[place]!, line.limits[0]!)}`,
  );
  return most.length > 0 ? `Most: ${most.join(", ")}` : "All numbers are 0.";
}

/** The strongest of a line, by absolute value; equal ones in order of the text. */
export function strongest(values: Float32Array, count: number): number[] {
  return Array.from(values.keys())
    .filter((place) => values[place] !== 0)
    .sort((one, other) => Math.abs(values[other]!) - Math.abs(values[one]!) || one - other)
    .slice(0, count);
}
