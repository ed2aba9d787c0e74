// The folded choices.
import { h, say } from "./dom";
import { check, options, select } from "./fields";
import { lengthAlong, type Model } from "./model";
import { sameUnit } from "./scaling";
import type { Action, State } from "./state";
import { percent } from "./words";

type Dispatch = (action: Action) => void;

/** The folded choices. */
export class More {
  readonly element = h("details", { class: "more" }, h("summary", {}, "View"));
  private readonly shared: HTMLInputElement;
  private readonly scale = select("Colour scale", [["row", "each row its own"], ["table", "one per picture"]]);
  private readonly special = select("Special tokens", [["aside", "outside the colour scale"], ["coloured", "coloured like others"], ["hidden", "hidden"]]);
  private readonly head = select("Heads", []);
  private readonly threshold = h("input", { type: "range", min: 0, max: 90, step: 5, "aria-label": "Threshold" });
  private readonly below = h("span", { class: "now" });
  private readonly colour: HTMLInputElement;
  private readonly cover = h("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Opacity of the scores" });

  constructor(dispatch: Dispatch, model: Model) {
    const setting = (change: Partial<State>): void => dispatch({ type: "set", change });
    this.shared = check("Same scale for all methods", (shared) => setting({ shared }));
    this.scale.input.addEventListener("change", () => setting({ scale: this.scale.input.value as State["scale"] }));
    this.head.input.addEventListener("change", () => {
      const { value } = this.head.input;
      setting({ head: value === "mean" || value === "each" || value === "all" ? value : Number(value) });
    });
    this.special.input.addEventListener("change", () => setting({ special: this.special.input.value as State["special"] }));
    this.threshold.addEventListener("input", () => setting({ threshold: Number(this.threshold.value) / 100 }));
    this.colour = check("Image in colour", (colour) => setting({ grey: !colour }));
    this.cover.addEventListener("input", () => setting({ cover: Number(this.cover.value) / 100 }));
    const { keys, queries } = model.exhibit;
    const image = model.exhibit.media?.kind === "image";
    this.special.element.hidden = keys.special.length + (queries?.special.length ?? 0) === 0;
    this.element.append(
      h("div", { class: "choices" },
        this.special.element,
        this.scale.element,
        this.shared.parentElement,
        h("label", {}, h("span", {}, "Colour only above"), this.threshold, this.below),
        this.head.element,
        image ? this.colour.parentElement : null,
        image ? h("label", {}, h("span", {}, "Opacity of the scores"), this.cover) : null,
      ),
    );
  }

  update({ state, exhibit }: Model): void {
    const entries = state.maps.map((map) => exhibit.maps[map]!);
    this.shared.checked = state.shared;
    this.special.input.value = state.special;
    this.shared.parentElement!.hidden = !entries.some((one, at) => entries.some((other, to) => to > at && sameUnit(one, other)));
    this.scale.input.value = state.scale;
    this.colour.checked = !state.grey;
    this.cover.value = String(Math.round(100 * state.cover));
    this.threshold.value = String(Math.round(100 * state.threshold));
    say(this.below, percent(state.threshold));
    const heads = Math.max(...entries.map((entry) => lengthAlong(entry, "head")));
    const names = Array.from({ length: heads }, (_, head): [string, string] => [String(head), `head ${head}`]);
    const several = entries.some((entry) => lengthAlong(entry, "head") > 0 && lengthAlong(entry, "layer") > 1);
    const ways: [string, string][] = [["mean", `mean of ${heads}`], ["each", "each, side by side"]];
    if (several) ways.push(["all", "all layers × heads"]);
    options(this.head, heads > 0 ? [...ways, ...names] : [], String(state.head));
  }
}
