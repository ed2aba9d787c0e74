// The first sentence of the page: what the model says, and what the chosen methods tell of it.
import type { Exhibit, MapEntry } from "./exhibit";
import { has, type Model } from "./model";
import { named, targetOf } from "./sentences";
import { unitAt } from "./units";
import { percent, quoted, visible } from "./words";

/** What the page says first: what the model says, and what the chosen methods tell of it. */
export function opening(model: Model): string {
  const { exhibit, state } = model;
  const { prediction } = exhibit;
  const told = [...new Set(state.maps.map((map) => tells(exhibit.maps[map]!, model)))].join(", and ");
  if (exhibit.steps) return `${visible(exhibit.model) || "The model"} writes ${quoted(written(exhibit), 80)}. Below: ${told}.`;
  if (!prediction) return `${told.charAt(0).toUpperCase()}${told.slice(1)}.`;
  const chance = prediction.probability === null ? "" : ` (${percent(prediction.probability)})`;
  const { after, at } = prediction;
  const where = after ? ` after ${quoted(visible(after))}` : at ? ` at ${quoted(visible(at))}` : "";
  const said = quoted(visible(prediction.label).trim());
  return `${visible(exhibit.model) || "The model"} predicts ${said}${chance}${where}. Below: ${told}.`;
}

/** The new tokens as they read. */
function written({ queries, keys }: Exhibit): string {
  const { gaps, pieces } = queries ?? keys;
  return visible(pieces.map((piece, place) => gaps[place]! + piece).join("").replace(/ ?\u2423/g, " ").trim());
}

function tells(entry: MapEntry, model: Model): string {
  const { exhibit, state, asked, active } = model;
  const own = has(entry, "query") || entry.selected.query !== undefined;
  const place = state.pinned ? active : Math.max(0, unitAt(asked, entry.selected.query ?? exhibit.start.query));
  const token = named(asked, place);
  const gives = has(entry, "query") && state.direction === "gives";
  if (entry.asks === "attention") return gives ? `which vectors look at ${token}` : `where its ${token} vector looks`;
  if (entry.asks !== "score" && own) return gives ? `which vectors ${token} goes into` : `what its ${token} vector is built from`;
  const name = has(entry, "query") ? token : targetOf(entry, model);
  const foil = !entry.targets && exhibit.target?.foil ? ` rather than ${quoted(visible(exhibit.target.foil))}` : "";
  if (gives) return `what ${token} spoke for`;
  return entry.signed ? `what speaks for and against ${name}${foil}` : `what ${name}${foil} rests on`;
}
