// What a reader can choose: methods, direction and layer in sight, the rest folded.
import { h, say, set } from "./dom";
import { lengthAlong, type Model } from "./model";
import { sameUnit } from "./scaling";
import { layersOf, type Action, type State } from "./state";
import { percent } from "./words";

type Dispatch = (action: Action) => void;

export class Controls {
  readonly element = h("div", { class: "controls" });
  private readonly methods: HTMLButtonElement[];
  private readonly several = h("button", { type: "button", class: "several", title: "Choose several methods" }, "Side by side");
  private readonly draws = h("button", { type: "button" }, "draws from");
  private readonly gives = h("button", { type: "button" }, "gives to");
  private readonly play = h("button", { type: "button", class: "play" });
  private readonly slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Layer" });
  private readonly layer = h("span", { class: "now" });
  private readonly layerBox = h("div", { class: "layer", role: "group", "aria-label": "Layer" }, this.play, this.slider, this.layer);
  private readonly more: More;
  private compare = false;
  private layers: readonly number[] = [];

  constructor(
    private readonly dispatch: Dispatch,
    model: Model,
  ) {
    const { exhibit } = model;
    this.methods = exhibit.maps.map((entry, map) => {
      const button = h("button", { type: "button", title: entry.title }, entry.name);
      button.addEventListener("click", (event) =>
        dispatch({ type: "method", map, alone: !(this.compare || event.shiftKey || event.ctrlKey || event.metaKey) }),
      );
      return button;
    });
    this.several.addEventListener("click", () => this.switchCompare());
    for (const button of [this.draws, this.gives])
      button.addEventListener("click", () => {
        if (button.getAttribute("aria-pressed") !== "true") dispatch({ type: "turn" });
      });
    this.play.addEventListener("click", () => dispatch({ type: "play", playing: this.play.dataset["playing"] !== "true" }));
    this.slider.addEventListener("input", () => dispatch({ type: "layer", layer: this.layers[Number(this.slider.value)]! }));
    this.more = new More(dispatch, model);
    const one = this.methods.length === 1;
    this.element.append(
      h("div", { class: "methods", role: "group", "aria-label": "Methods", hidden: one }, ...this.methods, this.several),
      h("div", { class: "direction", role: "group", "aria-label": "Direction" }, h("span", {}, "The token"), this.draws, this.gives),
      this.layerBox,
      this.more.element,
    );
  }

  update(model: Model): void {
    const { state, exhibit } = model;
    this.methods.forEach((button, map) => set(button, "aria-pressed", String(state.maps.includes(map))));
    this.compare ||= state.maps.length > 1;
    set(this.several, "aria-pressed", String(this.compare));
    set(this.draws, "aria-pressed", String(state.direction === "draws"));
    set(this.gives, "aria-pressed", String(state.direction === "gives"));
    this.draws.parentElement!.hidden = !state.maps.some((map) => exhibit.maps[map]!.dims.includes("query"));
    this.layers = layersOf(exhibit, state.maps);
    this.layerBox.hidden = this.layers.length < 2;
    set(this.slider, "max", this.layers.length - 1);
    this.slider.value = String(Math.max(0, this.layers.indexOf(state.layer)));
    const last = this.layers[this.layers.length - 1];
    set(this.slider, "aria-valuetext", `layer ${state.layer} of 0 to ${last}`);
    say(this.layer, `layer ${state.layer}`);
    set(this.play, "data-playing", String(state.playing));
    set(this.play, "aria-label", state.playing ? "Pause" : "Play through the layers");
    this.more.update(model);
  }

  private switchCompare(): void {
    this.compare = !this.compare;
    set(this.several, "aria-pressed", String(this.compare));
    const chosen = this.methods.findIndex((button) => button.getAttribute("aria-pressed") === "true");
    if (!this.compare) this.dispatch({ type: "method", map: chosen, alone: true });
  }
}

/** The folded choices. */
class More {
  readonly element = h("details", { class: "more" }, h("summary", {}, "View"));
  private readonly words: HTMLInputElement;
  private readonly special: HTMLInputElement;
  private readonly shared: HTMLInputElement;
  private readonly scale = select("Colour scale", [["row", "each row its own"], ["table", "one per picture"]]);
  private readonly head = select("Heads", []);
  private readonly target = select("Output", []);
  private readonly threshold = h("input", { type: "range", min: 0, max: 90, step: 5, "aria-label": "Threshold" });
  private readonly below = h("span", { class: "now" });

  constructor(dispatch: Dispatch, model: Model) {
    const setting = (change: Partial<State>): void => dispatch({ type: "set", change });
    this.words = check("Words", (words) => setting({ words }));
    this.special = check("Special tokens", (special) => setting({ special }));
    this.shared = check("Same scale for all methods", (shared) => setting({ shared }));
    this.scale.input.addEventListener("change", () => setting({ scale: this.scale.input.value as State["scale"] }));
    this.head.input.addEventListener("change", () => {
      const { value } = this.head.input;
      setting({ head: value === "mean" || value === "each" ? value : Number(value) });
    });
    this.target.input.addEventListener("change", () => setting({ target: Number(this.target.input.value) }));
    this.threshold.addEventListener("input", () => setting({ threshold: Number(this.threshold.value) / 100 }));
    const { keys, queries } = model.exhibit;
    this.words.disabled = !keys.words || (queries !== null && !queries.words);
    this.words.parentElement!.hidden = this.words.disabled;
    this.special.parentElement!.hidden = keys.special.length + (queries?.special.length ?? 0) === 0;
    this.element.append(
      h("div", { class: "choices" },
        this.words.parentElement,
        this.special.parentElement,
        this.scale.element,
        this.shared.parentElement,
        h("label", {}, h("span", {}, "Colour only above"), this.threshold, this.below),
        this.head.element,
        this.target.element,
      ),
    );
  }

  update({ state, exhibit }: Model): void {
    const entries = state.maps.map((map) => exhibit.maps[map]!);
    [this.words.checked, this.special.checked, this.shared.checked] = [state.words, state.special, state.shared];
    this.shared.parentElement!.hidden = !entries.some((one, at) => entries.some((other, to) => to > at && sameUnit(one, other)));
    this.scale.input.value = state.scale;
    this.threshold.value = String(Math.round(100 * state.threshold));
    say(this.below, percent(state.threshold));
    const heads = Math.max(...entries.map((entry) => lengthAlong(entry, "head")));
    const names = Array.from({ length: heads }, (_, head): [string, string] => [String(head), `head ${head}`]);
    options(this.head, heads > 0 ? [["mean", `mean of ${heads}`], ["each", "each, side by side"], ...names] : [], String(state.head));
    const targets = entries.find((entry) => entry.targets && lengthAlong(entry, "target") > 1)?.targets ?? [];
    options(this.target, targets.map((name, at): [string, string] => [String(at), name]), String(state.target));
  }
}

interface Choice {
  element: HTMLElement;
  input: HTMLSelectElement;
}

function select(name: string, entries: [string, string][]): Choice {
  const input = h("select", { "aria-label": name });
  const choice = { element: h("label", {}, h("span", {}, name), input), input };
  options(choice, entries, entries[0]?.[0] ?? "");
  return choice;
}

/** Fill a list; an empty one is hidden. */
function options({ element, input }: Choice, entries: [string, string][], value: string): void {
  element.hidden = entries.length === 0;
  const key = JSON.stringify(entries);
  if (input.dataset["entries"] !== key) {
    input.dataset["entries"] = key;
    input.replaceChildren(...entries.map(([each, text]) => h("option", { value: each }, text)));
  }
  input.value = value;
}

function check(name: string, change: (checked: boolean) => void): HTMLInputElement {
  const input = h("input", { type: "checkbox" });
  input.addEventListener("change", () => change(input.checked));
  h("label", {}, input, h("span", {}, name));
  return input;
}
