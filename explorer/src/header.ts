// Title, model, prediction, and the switches of the page itself: theme, size of type, help.
import { h, say, set } from "./dom";
import type { Exhibit } from "./exhibit";
import type { Model } from "./model";
import type { Action, State } from "./state";
import { percent, quoted, shortened, visible } from "./words";

const THEMES: State["theme"][] = ["auto", "light", "dark"];

const HELP: [string, string][] = [
  ["← →  Home End", "move over tokens, or over the cells of a map"],
  ["↑ ↓", "move over the rows of a map, or the layers on the slider"],
  ["Enter", "pin the token, choose the layer of a row"],
  ["Esc", "unpin"],
  ["Shift + click on a method", "add it beside the others"],
  ["?", "show or hide these hints"],
];

export class Header {
  readonly element = h("header", { class: "top" });
  private readonly theme = h("button", { type: "button" });
  private readonly large = h("button", { type: "button", title: "Larger type", "aria-label": "Larger type" }, "A+");
  private readonly help = h("button", { type: "button", title: "Keyboard hints", "aria-label": "Keyboard hints", "aria-expanded": "false" }, "?");
  private readonly hints = h("dl", { class: "hints", hidden: true });
  private state: State | null = null;

  constructor(dispatch: (action: Action) => void, exhibit: Exhibit) {
    this.theme.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(this.state!.theme) + 1) % THEMES.length]!;
      dispatch({ type: "set", change: { theme: next } });
    });
    this.large.addEventListener("click", () => dispatch({ type: "set", change: { large: !this.state!.large } }));
    this.help.addEventListener("click", () => this.toggleHelp());
    for (const [keys, what] of HELP) this.hints.append(h("dt", {}, keys), h("dd", {}, what));
    const buttons = h("div", { class: "buttons" }, this.theme, this.large, this.help);
    this.element.append(h("div", { class: "about" }, ...about(exhibit)), buttons, this.hints);
  }

  update({ state }: Model): void {
    this.state = state;
    say(this.theme, { auto: "Auto", light: "Light", dark: "Dark" }[state.theme]);
    set(this.theme, "aria-label", `Theme: ${state.theme}`);
    set(this.large, "aria-pressed", String(state.large));
  }

  toggleHelp(): void {
    this.hints.hidden = !this.hints.hidden;
    set(this.help, "aria-expanded", String(!this.hints.hidden));
  }
}

function about({ title, model, keys, prediction, target }: Exhibit): HTMLElement[] {
  const parts: HTMLElement[] = [];
  // The text itself stands below; only another title says something new.
  const letters = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
  const text = keys.pieces.filter((_, place) => !keys.special.includes(place)).join("");
  const known = [text, keys.pieces.join("")].map(letters);
  if (!known.includes(letters(title))) parts.push(h("h1", { title }, shortened(visible(title), 120)));
  if (model) parts.push(fact("model", visible(model)));
  if (prediction) parts.push(fact("prediction", quoted(visible(prediction.label).trim()), chance(prediction)));
  if (target) {
    const foil = target.foil ? ` rather than ${quoted(visible(target.foil))}` : "";
    parts.push(fact("explained", quoted(visible(target.label)) + foil));
  }
  return parts;
}

function chance({ probability, after, at }: NonNullable<Exhibit["prediction"]>): HTMLElement {
  const place = after ? ` after ${quoted(visible(after))}` : at ? ` at ${quoted(visible(at))}` : "";
  const part = h("span", { class: "chance" });
  if (probability !== null) {
    const fill = h("span", { class: "fill" });
    fill.style.width = `${100 * Math.max(0, Math.min(1, probability))}%`;
    part.append(h("span", { class: "gauge", "aria-hidden": "true" }, fill), percent(probability));
  }
  part.append(place);
  return part;
}

function fact(name: string, value: string, extra: HTMLElement | null = null): HTMLElement {
  return h("p", { class: "fact" }, h("span", { class: "name" }, name), h("bdi", {}, value), extra);
}
