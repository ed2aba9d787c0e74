// The text as coloured tokens: reads as it was written; point at, focus, or click a token to ask about it.
import { ramp, step } from "./colours";
import { h, set } from "./dom";
import type { Theme } from "./model";
import type { Unit } from "./units";
import { directionOf, shortened } from "./words";

/** What a strip (text, image, or sound) shows. */
export interface StripView {
  readonly units: readonly Unit[];
  /** null: nothing to colour. */
  readonly scores: Float32Array | null;
  readonly signed: boolean;
  readonly theme: Theme;
  /** How an image below the scores is shown. */
  readonly grey?: boolean;
  readonly cover?: number;
  readonly active: number;
  readonly pointed: number;
  readonly pinned: boolean;
  readonly label: string;
  /** A unit in words, with its number. */
  readonly describe: (place: number) => string;
}

export interface StripEvents {
  point(unit: Unit | null): void;
  pick(unit: Unit): void;
}

export interface Strip {
  readonly element: HTMLElement;
  update(view: StripView): void;
}

const LONGEST = 48;

export class TokenText implements Strip {
  readonly element = h("div", { class: "text", role: "listbox", "aria-orientation": "horizontal" });
  private view: StripView | null = null;
  private spans: HTMLElement[] = [];
  private inks: string[] = [];
  private labelling = 0;
  /** The token that Tab reaches; arrows move it. */
  private current = 0;

  constructor(private readonly events: StripEvents) {
    const { element } = this;
    element.addEventListener("pointerover", (event) => this.on(event, (place) => this.point(place)));
    element.addEventListener("pointerleave", () => this.events.point(null));
    element.addEventListener("focusin", (event) => this.on(event, (place) => this.focused(place)));
    element.addEventListener("click", (event) => this.on(event, (place) => this.events.pick(this.view!.units[place]!)));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  update(view: StripView): void {
    const before = this.view;
    this.view = view;
    this.element.hidden = view.units.length === 0;
    if (before?.units !== view.units) this.build(view);
    set(this.element, "aria-label", view.label);
    this.colour(view);
    this.mark(view);
    this.labelLater();
  }

  private build({ units }: StripView): void {
    this.spans = units.map(({ label, special, name }, place) => {
      const short = shortened(label, LONGEST);
      return h("span", {
        class: special ? "token special" : "token",
        role: "option",
        tabindex: -1,
        "data-place": place,
        title: short === label ? null : name,
      }, short);
    });
    this.inks = units.map(() => "");
    // A sign for the end of a line is followed by one, so that the text reads as it was written.
    const after = ({ label }: Unit): string => (label.endsWith("\u23ce") ? "\n" : "");
    this.element.replaceChildren(...units.flatMap((unit, place) => [unit.gap, this.spans[place]!, after(unit)]));
    this.element.dir = directionOf(units.map(({ label }) => label));
  }

  private colour({ scores, signed, theme }: StripView): void {
    const { hexes, inks } = ramp(signed, theme);
    this.spans.forEach((span, place) => {
      const score = scores?.[place] ?? 0;
      const aside = Number.isNaN(score);
      set(span, "data-aside", aside);
      const at = aside || score === 0 ? -1 : step(score, signed);
      const colour = at < 0 ? "" : hexes[at]!;
      if (this.inks[place] === colour) return;
      this.inks[place] = colour;
      span.style.backgroundColor = colour;
      span.style.color = colour && inks[at]!;
    });
  }

  private mark({ active, pointed, pinned }: StripView): void {
    this.spans.forEach((span, place) => {
      const name = place === active ? (pinned ? "pinned" : "active") : place === pointed ? "pointed" : null;
      set(span, "data-mark", name);
      set(span, "aria-selected", place === active ? "true" : "false");
    });
    if (!this.element.matches(":focus-within") && active >= 0) this.current = active;
    this.current = Math.min(this.current, this.spans.length - 1);
    this.spans.forEach((span, place) => set(span, "tabindex", place === this.current ? 0 : -1));
  }

  /** Labels with numbers, for screen readers; not while the pointer still moves. */
  private labelLater(): void {
    clearTimeout(this.labelling);
    this.labelling = window.setTimeout(() => this.spans.forEach((_, place) => this.labelNow(place)), 150);
  }

  private labelNow(place: number): void {
    if (this.view && this.spans[place]) set(this.spans[place]!, "aria-label", this.view.describe(place));
  }

  private on(event: Event, act: (place: number) => void): void {
    const found = (event.target as Element).closest<HTMLElement>("[data-place]");
    if (found && this.view) act(Number(found.dataset["place"]));
  }

  private point(place: number): void {
    this.events.point(this.view!.units[place]!);
  }

  private focused(place: number): void {
    this.current = place;
    this.labelNow(place);
    if (this.spans[place]!.matches(":focus-visible")) this.point(place);
  }

  private key(event: KeyboardEvent): void {
    const forward = this.element.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    const last = this.spans.length - 1;
    const goals: Record<string, number> = { [forward]: this.current + 1, [backward]: this.current - 1, Home: 0, End: last };
    const goal = goals[event.key];
    if (goal !== undefined) this.spans[Math.max(0, Math.min(last, goal))]?.focus();
    else if (event.key === "Enter" || event.key === " ") this.events.pick(this.view!.units[this.current]!);
    else return;
    event.preventDefault();
  }
}
