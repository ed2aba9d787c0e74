// What the colours of a panel mean, and how its numbers were made.
import { ramp } from "./colours";
import { h, say, set } from "./dom";
import type { MapEntry } from "./exhibit";
import type { Model, Panel } from "./model";
import { limitOf, unitOf } from "./sentences";
import { number, shortened, visible } from "./words";

const STOPS = 9;

/** A bar of colours with the numbers at its ends. */
export class Legend {
  private readonly low = h("span");
  private readonly high = h("span");
  private readonly bar = h("span", { class: "bar" });
  readonly element = h("div", { class: "legend", role: "img" }, this.low, this.bar, this.high);

  update(panel: Panel, model: Model): void {
    const { entry, line } = panel;
    this.element.hidden = !line || line.limits[0] === 0;
    if (this.element.hidden) return;
    const { hexes } = ramp(entry.signed, model.theme);
    const stops = Array.from({ length: STOPS }, (_, stop) => hexes[Math.round((stop / (STOPS - 1)) * (hexes.length - 1))]);
    const image = `linear-gradient(to right, ${stops.join(", ")})`;
    if (this.bar.dataset["image"] !== image) {
      this.bar.dataset["image"] = image;
      this.bar.style.backgroundImage = image;
    }
    const limit = limitOf(panel, model);
    const share = limit.endsWith("%");
    say(this.low, entry.signed ? `\u2212${limit}` : share ? "0 %" : "0");
    say(this.high, (entry.signed ? "+" : "") + limit + (share ? "" : unitOf(entry)));
    set(this.element, "aria-label", `Colours of the text run from ${this.low.textContent} to ${this.high.textContent}`);
  }
}

/** What a reader should know before believing the numbers. */
export function cautionOf(entry: MapEntry): HTMLElement[] {
  const caution = entry.facts.find(([name]) => name === "caution");
  return caution ? [h("p", { class: "caution" }, `Caution: ${visible(caution[1])}`)] : [];
}

/** Formula, source, precision and provenance, folded. */
export function factsOf(entry: MapEntry): HTMLElement {
  const precision = `${entry.data.bits} bits each, off by at most ${number(entry.data.error)}${unitOf(entry)}`;
  const facts: [string, string][] = [
    ["quantity", `${entry.quantity}: ${entry.meaning}`],
    ["formula", entry.formula],
    ["source", entry.paper],
    ["numbers", precision],
    ...entry.facts.filter(([name]) => name !== "caution").map(([name, value]): [string, string] => [name, value]),
  ];
  const list = h("dl");
  for (const [name, value] of facts)
    if (value) list.append(h("dt", {}, visible(name)), h("dd", {}, shortened(visible(value), 2000)));
  return h("details", { class: "facts" }, h("summary", {}, "How it was made"), list);
}
