// The words on the page: what is asked, what colours mean, and what the numbers are.
import type { MapEntry } from "./exhibit";
import { has, lengthAlong, type Model, type Panel } from "./model";
import type { Table } from "./scaling";
import type { Unit } from "./units";
import { margin, number, percent, quoted, visible } from "./words";

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
  const foil = !entry.targets && target?.foil ? ` over ${quoted(target.foil)}` : "";
  return `What each ${unitName(model)} did for ${targetOf(entry, model)}${foil}`;
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

/** How numbers become colours, and what the numbers are. */
export function scaling(panel: Panel, model: Model): string {
  const { entry, line } = panel;
  const { state, panels } = model;
  const many = state.shared && panels.length > 1 ? ", over all methods shown with this unit" : "";
  const size = line ? ` (text: ${limitOf(panel, model)})` : "";
  const aside = line && line.scores.some((score) => Number.isNaN(score));
  const sentences = [
    state.raw || entry.quantity === "share" ? "" : "Shares of all that is received: each number divided by the sum of its row, signs aside.",
    state.scale === "row"
      ? `Each row has its own scale: full colour is its largest number${many}${size}.`
      : `One scale per picture: full colour is its largest number${many}; the text has that of its layer’s map${size}.`,
    entry.signed ? "Red adds, blue removes." : "",
    state.threshold > 0 ? `Below ${percent(state.threshold)} of full colour nothing is coloured.` : "",
    state.words ? "Words: the sum over tokens that give, the mean over tokens that receive." : "",
    state.special === "hidden" ? "Special tokens are hidden." : aside ? "Special tokens are grey: they are outside the colour scale." : "",
  ];
  return sentences.filter(Boolean).join(" ");
}

/** What full colour of the text stands for: in shares where they have one whole. */
export function limitOf(panel: Panel, model: Model): string {
  const { line, entry } = panel;
  const limit = line!.limits[0]!;
  const one = !has(entry, "query") || model.state.direction === "draws";
  return model.state.raw || !one ? number(limit) : shareOf(limit, line!.whole(0, 0), false);
}

export function unitOf({ unit }: MapEntry): string {
  return unit && unit !== "1" && unit !== "the unit of the method" ? ` ${unit}` : "";
}

/** A number of a picture, as shares or raw, without its unit. */
export function short(table: Table, row: number, column: number, { entry }: Panel, { state }: Model): string {
  const value = table.values[row * table.columns + column]!;
  if (state.raw) return number(value, Math.max(table.limits[row]!, Math.abs(value)));
  return shareOf(value, table.whole(row, column), entry.signed);
}

/** One number of a picture: as a share with the raw number behind it, or raw; with its unit and what rounding may have changed. */
export function amount(table: Table, row: number, column: number, panel: Panel, model: Model): string {
  const { entry } = panel;
  const value = table.values[row * table.columns + column]!;
  const exact = `${number(value, Math.max(table.limits[row]!, Math.abs(value)))}${margin(entry.data.error)}${unitOf(entry)}`;
  if (model.state.raw || entry.quantity === "share") return model.state.raw ? exact : short(table, row, column, panel, model);
  return `${short(table, row, column, panel, model)} (${exact})`;
}

export function shareOf(value: number, whole: number, signed: boolean): string {
  const share = whole > 0 ? value / whole : 0;
  const sign = share < 0 ? "\u2212" : signed && share > 0 ? "+" : "";
  return sign + percent(Math.abs(share));
}

/** Who receives ← who gives: number. */
export function pair(model: Model, query: number, key: number, text: string): string {
  return `${named(model.queries, query)} ← ${named(model.keys, key)}: ${text}`;
}

/** How likely the model was to write the token at a place; nothing where it wrote none, or for words. */
export function chance({ exhibit, state }: Model, place: number): string {
  const found = state.direction === "draws" && !state.words ? exhibit.steps?.probabilities[place] : undefined;
  return found === undefined ? "" : percent(found);
}

/** The number that is pointed at, or null if none is. */
export function readout(panel: Panel, model: Model): string | null {
  const { active, pointed, state } = model;
  if (!panel.line) return null;
  if (!has(panel.entry, "query")) {
    const at = pointed >= 0 ? pointed : active;
    return panel.line.values[at] === undefined || state.direction === "gives"
      ? null
      : `${named(model.keys, at)}: ${amount(panel.line, 0, at, panel, model)}`;
  }
  if (pointed < 0) return null;
  const [query, key] = state.direction === "draws" ? [active, pointed] : [pointed, active];
  return pair(model, query, key, amount(panel.line, 0, pointed, panel, model));
}

/** The strongest tokens and what special tokens hold, or why there are none. */
export function answer(panel: Panel, model: Model): string {
  const { line, failure, numbers, entry } = panel;
  if (failure !== null) return failure;
  if (!numbers) return "Unpacking numbers …";
  if (!line) return `This map has no layer ${model.state.layer}.`;
  const units = has(entry, "query") ? model.coloured : model.keys;
  const most = strongest(line, MOST).map((place) => `${named(units, place)} ${short(line, 0, place, panel, model)}`);
  const aside = asideOf(panel, model);
  if (most.length === 0) return `All numbers are 0.${aside}`;
  return `Most: ${most.join(", ")}${aside && `. ${aside}`}`;
}

/** What tokens outside the colour scale hold together; nothing where there are none, or numbers do not add up to a whole. */
function asideOf(panel: Panel, model: Model): string {
  const { line, entry } = panel;
  const places = Array.from(line!.scores.keys()).filter((place) => Number.isNaN(line!.scores[place]!));
  if (places.length === 0 || entry.signed || model.state.raw || (has(entry, "query") && model.state.direction === "gives")) return "";
  const sum = places.reduce((all, place) => all + line!.values[place]!, 0);
  return `Special tokens hold ${shareOf(sum, line!.whole(0, 0), false)}.`;
}

/** The strongest of a line, by absolute value; equal ones in order of the text; none of those outside the scale. */
export function strongest({ values, scores }: Table, count: number): number[] {
  return Array.from(values.keys())
    .filter((place) => values[place] !== 0 && !Number.isNaN(scores[place]!))
    .sort((one, other) => Math.abs(values[other]!) - Math.abs(values[one]!) || one - other)
    .slice(0, count);
}

/** The output that a map explains, between quotes. */
export function targetOf(entry: MapEntry, { exhibit, state }: Model): string {
  const label = entry.targets?.[Math.min(state.target, entry.targets.length - 1)] ?? exhibit.target?.label;
  return label === undefined ? "the output" : quoted(visible(label).trim());
}
