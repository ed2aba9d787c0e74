// The opening sentence, the text as typed, and the switches of the page itself: theme, size of type, help.
import { h, say, set } from "./dom";
import type { Exhibit } from "./exhibit";
import type { Model } from "./model";
import { opening } from "./opening";
import type { Action, State } from "./state";
import { shortened, visible } from "./words";

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
  private readonly opening = h("h1", { class: "opening" });
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
    this.element.append(h("div", { class: "about" }, this.opening, ...typed(exhibit)), buttons, this.hints);
  }

  update(model: Model): void {
    const { state } = model;
    this.state = state;
    say(this.opening, opening(model));
    say(this.theme, { auto: "Auto", light: "Light", dark: "Dark" }[state.theme]);
    set(this.theme, "aria-label", `Theme: ${state.theme}`);
    set(this.large, "aria-pressed", String(state.large));
  }

  toggleHelp(): void {
    this.hints.hidden = !this.hints.hidden;
    set(this.help, "aria-expanded", String(!this.hints.hidden));
  }
}

/** The text as it was typed, where the coloured tokens below do not show it: they may be lower-case or cut. */
function typed({ title, keys }: Exhibit): HTMLElement[] {
  const letters = (text: string): string => text.replace(/[^\p{L}\p{N}]/gu, "");
  const text = keys.pieces.filter((_, place) => !keys.special.includes(place)).join("");
  if ([text, keys.pieces.join("")].map(letters).includes(letters(title))) return [];
  return [h("p", { class: "typed", title }, shortened(visible(title), 240))];
}
