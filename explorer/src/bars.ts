// The strongest tokens of the answer as bars with their numbers.
import { background } from "./colours";
import { h, say } from "./dom";
import { has, type Model, type Panel } from "./model";
import { strongest } from "./sentences";
import { number, shortened } from "./words";

const MOST = 8;
const LABEL = 18;

export class Bars {
  private readonly list = h("ol");
  readonly element = h("figure", { class: "strongest" }, h("figcaption", {}, h("strong", {}, "Strongest")), this.list);
  private readonly rows = Array.from({ length: MOST }, () => {
    const [name, bar, value] = [h("bdi"), h("span"), h("span", { class: "value" })];
    return { element: h("li", {}, name, h("span", { class: "track" }, bar), value), name, bar, value };
  });

  constructor() {
    this.list.append(...this.rows.map(({ element }) => element));
  }

  update({ entry, line }: Panel, model: Model): void {
    const units = has(entry, "query") ? model.coloured : model.keys;
    const places = line ? strongest(line.values, MOST) : [];
    this.element.hidden = places.length === 0;
    const largest = Math.abs(line?.values[places[0] ?? 0] ?? 0);
    this.rows.forEach(({ element, name, bar, value }, rank) => {
      const place = places[rank];
      element.hidden = place === undefined;
      if (place === undefined) return;
      const amount = line!.values[place]!;
      say(name, shortened(units[place]!.name, LABEL));
      say(value, number(amount, largest));
      bar.style.width = `${(100 * Math.abs(amount)) / largest}%`;
      bar.style.backgroundColor = background(entry.signed ? Math.sign(amount) * 0.7 : 0.7, entry.signed, model.theme);
    });
  }
}
