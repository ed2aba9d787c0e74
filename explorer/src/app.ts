// The explorer as a whole: holds the state, unpacks maps when they are looked at, and redraws once per frame.
import { choicesOf, stateOf, type Address } from "./address";
import { Controls } from "./controls";
import { decode } from "./decode";
import { h, same, say, set } from "./dom";
import type { Exhibit } from "./exhibit";
import { Header } from "./header";
import { Modeller, type Loaded, type Model, type Theme } from "./model";
import { PanelView } from "./panel";
import { chance, question } from "./sentences";
import { initial, reduce, type Action, type State } from "./state";
import sheet from "./style.css";
import { Strips } from "./strips";
import { NumberTable } from "./table";

const STEP = 900;
const CALM_STEP = 1800;
const REST = 400;

export class App {
  private state: State;
  private readonly loaded: Loaded[];
  private readonly asked = new Set<number>();
  private readonly modeller: Modeller;
  private readonly frame = h("div", { class: "explorer" });
  private readonly question = h("h2", { class: "question" });
  private readonly pinned = h("p", { class: "pinned" }, "pinned · Esc lets go");
  private readonly panelBox = h("div", { class: "panels" });
  private readonly live = h("p", { class: "live", role: "status", "aria-live": "polite" });
  private readonly header: Header;
  private readonly controls: Controls;
  private readonly asker: Strips | null;
  private readonly numbers = new NumberTable();
  private panels: PanelView[] = [];
  private shown: readonly number[] = [];
  private waiting = 0;
  private gone = false;
  private theme: Theme | null = null;
  private timer = 0;
  private announcing = 0;
  private writing = 0;
  private saidAt = -Infinity;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly onScheme = (): void => this.schedule();

  constructor(
    private readonly root: ShadowRoot,
    private readonly exhibit: Exhibit,
    kept: Partial<State>,
    private readonly onTheme: (theme: Theme) => void,
    private readonly address: Address | null,
  ) {
    this.state = { ...this.linked(), ...kept };
    this.loaded = exhibit.maps.map(() => undefined);
    this.modeller = new Modeller(exhibit);
    const style = new CSSStyleSheet();
    style.replaceSync(sheet);
    root.adoptedStyleSheets = [style];
    const model = this.model();
    const dispatch = (action: Action): void => this.dispatch(action);
    this.header = new Header(dispatch, exhibit);
    this.controls = new Controls(dispatch, model);
    this.asker = exhibit.queries
      ? new Strips(
          {
            point: (unit) => unit && !this.state.pinned && dispatch({ type: "ask", token: unit.pieces[0]! }),
            pick: (unit) => dispatch({ type: "pin", token: unit.pieces[0]! }),
          },
          exhibit.media,
        )
      : null;
    this.frame.append(this.header.element, this.controls.element);
    this.frame.append(h("div", { class: "asked" }, this.question, this.pinned));
    if (exhibit.steps) this.frame.append(h("p", { class: "meaning" }, "The model wrote these tokens. Point at one: what it rests on lights up below."));
    if (this.asker) this.frame.append(this.asker.element);
    this.frame.append(this.panelBox, this.numbers.element, this.live);
    this.frame.addEventListener("keydown", (event) => this.key(event));
    this.dark.addEventListener("change", this.onScheme);
    root.replaceChildren(this.frame);
    this.render();
  }

  destroy(): void {
    this.gone = true;
    cancelAnimationFrame(this.waiting);
    clearInterval(this.timer);
    clearTimeout(this.announcing);
    clearTimeout(this.writing);
    this.dark.removeEventListener("change", this.onScheme);
    this.panels.forEach((panel) => panel.destroy());
    this.asker?.destroy();
    this.root.replaceChildren();
  }

  /** Show what the address names, as a link was followed while the page was open. */
  follow(): void {
    this.state = { ...this.state, ...this.linked(), playing: false };
    this.schedule();
  }

  private linked(): State {
    return this.address ? stateOf(this.address.read(), this.exhibit) : initial(this.exhibit);
  }

  /** What a reader wants to find again when the exhibit changes. */
  get habits(): Partial<State> {
    const { theme, large, words, special, raw, threshold, scale, shared } = this.state;
    return { theme, large, words, special, raw, threshold, scale, shared };
  }

  private dispatch(action: Action): void {
    const before = this.state;
    this.state = reduce(before, action, this.exhibit);
    if (this.state === before) return;
    if (this.state.playing !== before.playing) this.switchPlay();
    this.schedule();
  }

  /** Many events may come in one frame; only the last state is drawn. */
  private schedule(): void {
    if (this.waiting || this.gone) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.render();
    });
  }

  private switchPlay(): void {
    clearInterval(this.timer);
    const step = this.calm.matches ? CALM_STEP : STEP;
    if (this.state.playing) this.timer = window.setInterval(() => this.dispatch({ type: "tick" }), step);
  }

  private model(): Model {
    const { theme } = this.state;
    const seen: Theme = theme === "auto" ? (this.dark.matches ? "dark" : "light") : theme;
    return this.modeller.make(this.state, this.loaded, seen);
  }

  private render(): void {
    this.state.maps.forEach((index) => this.load(index));
    const model = this.model();
    set(this.frame, "data-theme", model.theme);
    if (model.theme !== this.theme) this.onTheme((this.theme = model.theme));
    set(this.frame, "data-large", this.state.large);
    set(this.frame, "data-panels", model.panels.length);
    const likely = model.asked[model.active] ? chance(model, model.asked[model.active]!.pieces[0]!) : "";
    say(this.question, question(model) + (likely && ` \u00b7 probability ${likely}`));
    this.pinned.hidden = !this.state.pinned;
    this.header.update(model);
    this.controls.update(model);
    this.updateAsker(model);
    this.updatePanels(model);
    this.numbers.update(model);
    this.announceLater();
    this.writeLater();
  }

  /** Once the reader rests: browsers take few changes of an address per second. */
  private writeLater(): void {
    clearTimeout(this.writing);
    if (!this.address || this.state.playing) return;
    this.writing = window.setTimeout(() => this.address!.write(choicesOf(this.state, this.exhibit)), REST);
  }

  private updateAsker(model: Model): void {
    this.asker?.update({
      units: model.asked,
      scores: null,
      signed: false,
      theme: model.theme,
      grey: model.state.grey,
      cover: model.state.cover,
      active: model.active,
      pointed: -1,
      pinned: model.state.pinned,
      label: model.state.direction === "gives" ? "Tokens that give" : model.exhibit.steps ? "Tokens that the model wrote" : "Tokens that receive",
      describe: (place) => [model.asked[place]!.name, chance(model, model.asked[place]!.pieces[0]!)].filter(Boolean).join(", "),
    });
  }

  private updatePanels(model: Model): void {
    if (!same(this.shown, this.state.maps)) {
      this.shown = this.state.maps;
      this.panels.forEach((panel) => panel.destroy());
      this.panels = model.panels.map(
        (panel) =>
          new PanelView(
            (action) => this.dispatch(action),
            (text) => this.announce(text),
            panel,
            model,
          ),
      );
      this.panelBox.replaceChildren(...this.panels.map(({ element }) => element));
    }
    this.panels.forEach((view, place) => view.update(model.panels[place]!, model));
  }

  private load(index: number): void {
    if (this.asked.has(index)) return;
    this.asked.add(index);
    decode(this.exhibit.maps[index]!)
      .then((numbers) => (this.loaded[index] = numbers))
      .catch((error: unknown) => (this.loaded[index] = error instanceof Error ? error : new Error(String(error))))
      .finally(() => this.schedule());
  }

  /** What changed, for screen readers, once the reader rests; not over what was just said, nor while it plays. */
  private announceLater(): void {
    clearTimeout(this.announcing);
    this.announcing = window.setTimeout(() => {
      if (this.state.playing || performance.now() - this.saidAt < 2 * REST) return;
      const answers = [...this.panelBox.querySelectorAll(".answer")].map(({ textContent }) => textContent);
      say(this.live, `${this.question.textContent}. ${answers.join(" ")}`);
    }, REST);
  }

  private announce(text: string): void {
    this.saidAt = performance.now();
    say(this.live, text);
  }

  private key(event: KeyboardEvent): void {
    // A key that moved something here is not for the page around.
    if (event.defaultPrevented) event.stopPropagation();
    if (event.key === "Escape") this.dispatch({ type: "unpin" });
    if (event.key === "?") this.header.toggleHelp();
  }
}
