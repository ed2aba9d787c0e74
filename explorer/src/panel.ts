// One method: its answer as coloured text, layers × tokens, tokens × tokens, and what the numbers are.
import { Bars } from "./bars";
import { h, say, set } from "./dom";
import { Figure, HeadFigures, type Look } from "./figure";
import { cautionOf, factsOf, Legend } from "./legend";
import type { MapEvents } from "./map";
import { Overview } from "./overview";
import { has, type Model, type Panel } from "./model";
import { type Table } from "./scaling";
import { amount, answer, chance, pair, question, readout, scaling, short, subject, whereabouts, named } from "./sentences";
import type { Action } from "./state";
import { Strips } from "./strips";
import { visible } from "./words";

export const HINT = "Point at a token or a cell to read its number.";

/** More columns than this need the whole width. */
const MANY = 72;

interface Cell {
  row: number;
  column: number;
}

export class PanelView {
  readonly element = h("section", { class: "panel" });
  private readonly title: HTMLElement;
  private readonly meaning = h("p", { class: "meaning" });
  private readonly subject = h("p", { class: "subject" });
  private readonly answer = h("p", { class: "answer" });
  private readonly readout = h("p", { class: "readout" });
  private readonly scaling = h("p", { class: "scaling" });
  private readonly legend = new Legend();
  private readonly bars = new Bars();
  private readonly strips: Strips;
  private readonly layers: Figure;
  private readonly grid: Figure;
  private readonly heads: HeadFigures;
  private readonly overview: Overview;
  private model!: Model;
  private panel!: Panel;

  constructor(
    private readonly dispatch: (action: Action) => void,
    private readonly announce: (text: string) => void,
    panel: Panel,
    model: Model,
  ) {
    const strip = {
      point: (unit: Model["keys"][number] | null) => dispatch({ type: "point", token: unit ? unit.pieces[0]! : null }),
      pick: (unit: Model["keys"][number]) => dispatch({ type: "pin", token: unit.pieces[0]! }),
    };
    this.strips = new Strips(strip, model.exhibit.media);
    this.layers = new Figure("Layers × tokens", panel.entry.name, this.layerEvents());
    this.grid = new Figure(model.exhibit.steps ? "Steps × tokens" : "Tokens × tokens", panel.entry.name, this.gridEvents(() => this.panel.grid!, (cell) => this.pin(cell)));
    this.heads = new HeadFigures((head) =>
      this.gridEvents(() => this.panel.heads[head]!, () => dispatch({ type: "set", change: { head } })),
    );
    this.title = titleOf(panel.entry);
    this.overview = new Overview(dispatch, announce);
    // A picture leaves room beside it.
    const beside = model.exhibit.media?.kind === "image";
    set(this.element, "data-image", beside);
    this.element.append(
      h("header", {}, this.title, this.meaning),
      ...cautionOf(panel.entry),
      this.subject,
      this.strips.element,
      h("div", { class: "said" }, this.answer, this.legend.element, beside ? this.bars.element : null),
      this.readout,
      h(
        "div",
        { class: "figures" },
        h("div", { class: "column" }, this.layers.element, beside ? null : this.bars.element),
        this.grid.element,
        this.heads.element,
        this.overview.element,
      ),
      this.scaling,
      factsOf(panel.entry),
    );
  }

  destroy(): void {
    for (const part of [this.strips, this.layers, this.grid, this.heads, this.overview]) part.destroy();
  }

  update(panel: Panel, model: Model): void {
    [this.panel, this.model] = [panel, model];
    const { entry } = panel;
    set(this.element, "aria-busy", panel.numbers || panel.failure !== null ? null : "true");
    set(this.element, "aria-label", entry.label || entry.title || entry.name);
    say(this.meaning, [entry.meaning, whereabouts(panel, model)].filter(Boolean).join(" · "));
    const own = subject(entry, model);
    say(this.subject, own === question(model) ? "" : own);
    say(this.answer, answer(panel, model));
    set(this.answer, "data-failed", panel.failure !== null);
    say(this.readout, readout(panel, model) ?? (panel.line ? HINT : ""));
    set(this.readout, "data-hint", readout(panel, model) === null);
    say(this.scaling, panel.numbers ? scaling(panel, model) : "");
    this.legend.update(panel, model);
    this.updateStrips();
    this.updateFigures();
  }

  private updateStrips(): void {
    const { panel, model } = this;
    // A map of one score has no other side: its keys are coloured whichever way one asks.
    const own = !has(panel.entry, "query");
    this.strips.update({
      units: own ? model.keys : model.coloured,
      scores: panel.line?.scores ?? null,
      signed: panel.entry.signed,
      theme: model.theme,
      grey: model.state.grey,
      cover: model.state.cover,
      active: model.exhibit.queries ? -1 : model.active,
      pointed: own && model.exhibit.queries && model.state.direction === "gives" ? -1 : model.pointed,
      pinned: model.state.pinned,
      label: `${subject(panel.entry, model)}: tokens`,
      describe: (place) => this.describeToken(place),
    });
  }

  private updateFigures(): void {
    const { panel, model } = this;
    const own = !has(panel.entry, "query");
    const what = subject(panel.entry, model);
    this.layers.update(panel.layers, () => this.layersLook(own, what), "one row per layer, the last on top");
    const within = [this.heads, this.overview].some(({ element }) => element.matches(":focus-within"));
    const rows = model.exhibit.steps ? "rows are new tokens, columns are what they rest on" : "rows receive, columns are what they draw from";
    const [note, alone] = [rows, panel.heads.length === 0 && panel.small === null];
    this.grid.update(alone ? panel.grid : null, () => this.gridLook(false), note);
    this.heads.update(panel.heads, () => this.gridLook(true));
    this.overview.update(panel, model);
    // Of the heads one was chosen: the keyboard goes on in its map, which stands in their place.
    if (within && alone) this.grid.focus();
    this.bars.update(panel, model);
    set(this.element, "data-heads", !alone);
    set(this.element, "data-many", Math.max(model.keys.length, model.queries.length) > MANY);
  }

  private layersLook(own: boolean, what: string): Look {
    const { panel, model } = this;
    return {
      ...this.look(),
      rowLabels: panel.entry.layers!.map(String),
      columnLabels: (own ? model.keys : model.coloured).map(({ name }) => name),
      lastOnTop: true,
      row: panel.entry.layers!.indexOf(model.state.layer),
      column: model.pointed,
      label: `${what}: one row per layer, the last on top. Arrow keys move, Enter chooses the layer.`,
    };
  }

  private gridLook(bare: boolean): Look {
    const { model } = this;
    const draws = model.state.direction === "draws";
    return {
      ...this.look(),
      bare,
      rowLabels: model.queries.map(({ name, pieces }) => [name, chance(model, pieces[0]!)].filter(Boolean).join(" ")),
      columnLabels: model.keys.map(({ name }) => name),
      lastOnTop: false,
      row: draws ? model.active : model.pointed,
      column: draws ? model.pointed : model.active,
      label: "Rows receive, columns are what they draw from. Arrow keys move, Enter pins.",
    };
  }

  private look() {
    const font = this.model.state.large ? 15 : 11;
    return { signed: this.panel.entry.signed, theme: this.model.theme, font, bare: false };
  }

  private layerEvents(): MapEvents {
    return {
      point: (cell) => {
        const { panel, model } = this;
        const units = has(panel.entry, "query") ? model.coloured : model.keys;
        this.dispatch({ type: "look", token: cell ? units[cell.column]!.pieces[0]! : null });
      },
      pick: ({ row }) => this.dispatch({ type: "layer", layer: this.panel.entry.layers![row]! }),
      describe: (row, column) => this.describeLayer(row, column),
      announce: this.announce,
    };
  }

  private gridEvents(table: () => Table, pick: (cell: Cell) => void): MapEvents {
    return {
      point: (cell) => this.pointCell(cell),
      pick,
      describe: (row, column) => this.describeCell(table(), row, column),
      announce: this.announce,
    };
  }

  private pointCell(cell: Cell | null): void {
    if (!cell) return this.dispatch({ type: "look", token: null });
    const [token, other] = this.asked(cell);
    this.dispatch({ type: "pair", token, other });
  }

  private pin(cell: Cell): void {
    this.dispatch({ type: "pin", token: this.asked(cell)[0] });
  }

  /** The tokens of a cell: the one in question, and the other. */
  private asked({ row, column }: Cell): [number, number] {
    const { model } = this;
    const [query, key] = [model.queries[row]!.pieces[0]!, model.keys[column]!.pieces[0]!];
    return model.state.direction === "draws" ? [query, key] : [key, query];
  }

  private describeToken(place: number): string {
    const { panel, model } = this;
    const units = has(panel.entry, "query") ? model.coloured : model.keys;
    return `${units[place]!.name}${panel.line ? `, ${short(panel.line, 0, place, panel, model)}` : ""}`;
  }

  private describeCell(table: Table, row: number, column: number): string {
    return pair(this.model, row, column, amount(table, row, column, this.panel, this.model));
  }

  private describeLayer(row: number, column: number): string {
    const { panel, model } = this;
    const text = amount(panel.layers!, row, column, panel, model);
    const layer = `layer ${panel.entry.layers![row]}`;
    if (!has(panel.entry, "query")) return `${layer}, ${named(model.keys, column)}: ${text}`;
    const [query, key] = model.state.direction === "draws" ? [model.active, column] : [column, model.active];
    return `${layer}, ${pair(model, query, key, text)}`;
  }
}

/** The name as people know it, what is typed for it, and where it was published. */
function titleOf({ label, name, title, formula, paper, link }: Panel["entry"]): HTMLElement {
  const [known, typed] = label && label !== name ? [label, title || name] : [title || name, ""];
  const source = link && /^https:\/\//.test(link)
    ? h("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, visible(paper || link))
    : null;
  return h("h3", { title: formula ? visible(formula) : null }, visible(known), " ", typed ? h("code", {}, visible(typed)) : null, " ", source);
}
