// The strongest tokens of the answer as bars with their numbers.
import { background } from "./colours";
import { h, say } from "./dom";
import { has, type Model, type Panel } from "./model";
import { short, strongest } from "./sentences";
import type { Unit } from "./units";
import { shortened } from "./words";

const MOST = 8;
const LABEL = 18;

export class Bars {
  private readonly list = h("ol");
  readonly element = h("figure", { class: "strongest" }, h("figcaption", {}, h("strong", {}, "Strongest")), this.list);
  private readonly rows = Array.from({ length: MOST }, () => {
    const [name, where, bar, value] = [h("bdi"), h("small"), h("span"), h("span", { class: "value" })];
    const label = h("span", { class: "label" }, name, where);
    return { element: h("li", {}, label, h("span", { class: "track" }, bar), value), name, where, bar, value };
  });

  constructor() {
    this.list.append(...this.rows.map(({ element }) => element));
  }

  update(panel: Panel, model: Model): void {
    const { entry, line } = panel;
    const units = has(entry, "query") ? model.coloured : model.keys;
    const places = line ? strongest(line, MOST) : [];
    this.element.hidden = places.length === 0;
    const largest = Math.abs(line?.values[places[0] ?? 0] ?? 0);
    this.rows.forEach(({ element, name, where, bar, value }, rank) => {
      const place = places[rank];
      element.hidden = place === undefined;
      if (place === undefined) return;
      const amount = line!.values[place]!;
      say(name, shortened(units[place]!.name, LABEL));
      say(where, repeated(units, place) ? `position ${units[place]!.pieces[0]!}` : "");
      say(value, short(line!, 0, place, panel, model));
      bar.style.width = `${(100 * Math.abs(amount)) / largest}%`;
      bar.style.backgroundColor = background(entry.signed ? Math.sign(amount) * 0.7 : 0.7, entry.signed, model.theme);
    });
  }
}

/** Whether the name alone would not tell which one is meant. */
function repeated(units: readonly Unit[], place: number): boolean {
  return units.some((unit, at) => at !== place && unit.name === units[place]!.name);
}
