// What a reader can choose: methods by question, output, direction, layer, words and numbers in sight, the rest folded.
import { h, say, set } from "./dom";
import type { MapEntry } from "./exhibit";
import { options, select } from "./fields";
import { lengthAlong, type Model } from "./model";
import { More } from "./more";
import { layersOf, type Action } from "./state";

type Dispatch = (action: Action) => void;

const SEVERAL = "Show another method beside this one; then choose which";

export class Controls {
  readonly element = h("div", { class: "controls" });
  private readonly fold = h("button", { type: "button", class: "fold", "aria-expanded": "false" }, "Methods and view");
  private readonly methods: HTMLButtonElement[];
  private readonly several = h("button", { type: "button", class: "several", title: SEVERAL }, "Side by side");
  private readonly target = select("Output", []);
  private readonly draws = h("button", { type: "button" }, "draws from");
  private readonly gives = h("button", { type: "button" }, "gives to");
  private readonly play = h("button", { type: "button", class: "play" });
  private readonly slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Layer" });
  private readonly layer = h("span", { class: "now" });
  private readonly layerBox = h("div", { class: "layer", role: "group", "aria-label": "Layer" }, this.play, this.slider, this.layer);
  private readonly words = h("button", { type: "button", title: "Sum the tokens of each word" }, "Words");
  private readonly shares = h("button", { type: "button", title: "Shares of all that is received" }, "%");
  private readonly raw = h("button", { type: "button", title: "Numbers as the method gives them" }, "raw");
  private readonly more: More;
  private layers: readonly number[] = [];

  constructor(
    private readonly dispatch: Dispatch,
    model: Model,
  ) {
    const { exhibit } = model;
    const { keys, queries } = exhibit;
    this.methods = exhibit.maps.map((entry, map) => this.methodButton(entry, map));
    this.several.addEventListener("click", () => dispatch({ type: "beside" }));
    this.target.input.addEventListener("change", () =>
      dispatch({ type: "set", change: { target: Number(this.target.input.value) } }),
    );
    for (const button of [this.draws, this.gives])
      button.addEventListener("click", () => {
        if (button.getAttribute("aria-pressed") !== "true") dispatch({ type: "turn" });
      });
    this.play.addEventListener("click", () => dispatch({ type: "play", playing: this.play.dataset["playing"] !== "true" }));
    this.slider.addEventListener("input", () => dispatch({ type: "layer", layer: this.layers[Number(this.slider.value)]! }));
    this.words.addEventListener("click", () =>
      dispatch({ type: "set", change: { words: this.words.getAttribute("aria-pressed") !== "true" } }),
    );
    this.words.hidden = !keys.words || (queries !== null && !queries.words);
    this.shares.addEventListener("click", () => dispatch({ type: "set", change: { raw: false } }));
    this.raw.addEventListener("click", () => dispatch({ type: "set", change: { raw: true } }));
    this.fold.addEventListener("click", () => this.unfold());
    this.more = new More(dispatch, model);
    const methods = h("div", { class: "methods", hidden: this.methods.length === 1 }, ...this.groups(exhibit.maps), this.several);
    this.element.append(
      this.fold,
      methods,
      this.target.element,
      h("div", { class: "direction", role: "group", "aria-label": "Direction" }, h("span", {}, "The token"), this.draws, this.gives),
      this.layerBox,
      this.words,
      h("div", { class: "direction", role: "group", "aria-label": "Numbers" }, h("span", {}, "Numbers"), this.shares, this.raw),
      this.more.element,
    );
  }

  private methodButton(entry: MapEntry, map: number): HTMLButtonElement {
    const about = [entry.name, entry.formula].filter(Boolean).join(": ");
    const button = h("button", { type: "button", title: about, "data-name": entry.name }, entry.label || entry.name);
    button.addEventListener("click", (event) => {
      const compare = this.several.getAttribute("aria-pressed") === "true";
      this.dispatch({ type: "method", map, alone: !(compare || event.shiftKey || event.ctrlKey || event.metaKey) });
    });
    return button;
  }

  /** Methods under the question that they answer. */
  private groups(maps: readonly MapEntry[]): HTMLElement[] {
    const questions = [...new Set(maps.map(({ question }) => question ?? ""))];
    return questions.map((question) => {
      const own = this.methods.filter((_, map) => (maps[map]!.question ?? "") === question);
      const caption = question ? h("span", { class: "ask" }, question) : null;
      return h("div", { class: "group", role: "group", "aria-label": question || "Methods" }, caption, ...own);
    });
  }

  /** On a narrow screen the text comes first, and the choices on request. */
  private unfold(): void {
    const open = this.element.dataset["open"] === undefined;
    set(this.element, "data-open", open);
    set(this.fold, "aria-expanded", String(open));
  }

  update(model: Model): void {
    const { state, exhibit } = model;
    this.methods.forEach((button, map) => set(button, "aria-pressed", String(state.maps.includes(map))));
    set(this.several, "aria-pressed", String(state.maps.length > 1));
    set(this.draws, "aria-pressed", String(state.direction === "draws"));
    set(this.gives, "aria-pressed", String(state.direction === "gives"));
    this.draws.parentElement!.hidden = !state.maps.some((map) => exhibit.maps[map]!.dims.includes("query"));
    set(this.words, "aria-pressed", String(state.words));
    set(this.shares, "aria-pressed", String(!state.raw));
    set(this.raw, "aria-pressed", String(state.raw));
    this.updateLayer(model);
    const targets = state.maps.map((map) => exhibit.maps[map]!).find((entry) => entry.targets && lengthAlong(entry, "target") > 1)?.targets;
    options(this.target, (targets ?? []).map((name, at): [string, string] => [String(at), name]), String(state.target));
    this.more.update(model);
  }

  private updateLayer({ state, exhibit }: Model): void {
    this.layers = layersOf(exhibit, state.maps);
    this.layerBox.hidden = this.layers.length < 2;
    set(this.slider, "max", this.layers.length - 1);
    this.slider.value = String(Math.max(0, this.layers.indexOf(state.layer)));
    const last = this.layers[this.layers.length - 1];
    set(this.slider, "aria-valuetext", `layer ${state.layer} of 0 to ${last}`);
    say(this.layer, `layer ${state.layer}`);
    set(this.play, "data-playing", String(state.playing));
    set(this.play, "aria-label", state.playing ? "Pause" : "Play through the layers");
  }
}
