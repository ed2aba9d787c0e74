// One method: its answer as coloured text, layers × tokens, tokens × tokens, and what the numbers are.
import { ramp } from "./colours";
import { h, say, set } from "./dom";
import { HeatMap } from "./map";
import { has, type Model, type Panel, type Table } from "./model";
import { amount, named, pair, question, readout, scaling, strongest, subject, whereabouts } from "./sentences";
import type { Action } from "./state";
import { line, TokenText, type Strip } from "./tokens";
import { number, shortened } from "./words";

const SHOWN = 4;

export class PanelView {
  readonly element = h("section", { class: "panel" });
  private readonly title = h("h3");
  private readonly meaning = line("meaning");
  private readonly subject = line("subject");
  private readonly answer = line("answer");
  private readonly readout = line("readout");
  private readonly scaling = line("scaling");
  private readonly legend = h("div", { class: "legend", role: "img" });
  private readonly low = h("span");
  private readonly high = h("span");
  private readonly bar = h("span", { class: "bar" });
  private readonly strips: Strip[];
  private readonly layers: Figure;
  private readonly grid: Figure;
  private readonly facts: HTMLElement;
  private model!: Model;
  private panel!: Panel;

  constructor(
    private readonly dispatch: (action: Action) => void,
    announce: (text: string) => void,
    strips: (events: ConstructorParameters<typeof TokenText>[0]) => Strip[],
    panel: Panel,
  ) {
    this.strips = strips({
      point: (unit) => dispatch({ type: "point", token: unit ? unit.pieces[0]! : null }),
      pick: (unit) => dispatch({ type: "pin", token: unit.pieces[0]! }),
    });
    this.layers = new Figure("Layers × tokens", {
      point: (cell) => dispatch({ type: "look", token: cell ? this.model.coloured[cell.column]!.pieces[0]! : null }),
      pick: ({ row }) => dispatch({ type: "layer", layer: this.panel.entry.layers![row]! }),
      describe: (row, column) => this.describeLayer(row, column),
      announce,
    });
    this.grid = new Figure("Tokens × tokens", {
      point: (cell) => this.pointCell(cell),
      pick: ({ row, column }) => {
        const unit = this.model.state.direction === "draws" ? this.model.queries[row]! : this.model.keys[column]!;
        dispatch({ type: "pin", token: unit.pieces[0]! });
      },
      describe: (row, column) => this.describeCell(row, column),
      announce,
    });
    this.facts = factsOf(panel);
    this.legend.append(this.low, this.bar, this.high);
    this.element.append(
      h("header", {}, this.title, this.meaning),
      this.subject,
      ...this.strips.map(({ element }) => element),
      this.answer,
      this.readout,
      this.legend,
      h("div", { class: "figures" }, this.layers.element, this.grid.element),
      this.scaling,
      this.facts,
    );
  }

  destroy(): void {
    this.layers.destroy();
    this.grid.destroy();
  }

  update(panel: Panel, model: Model): void {
    [this.panel, this.model] = [panel, model];
    const { entry } = panel;
    say(this.title, entry.title || entry.name);
    say(this.meaning, [entry.meaning, whereabouts(panel, model)].filter(Boolean).join(" · "));
    const own = subject(entry, model);
    say(this.subject, own === question(model) ? "" : own);
    set(this.element, "aria-busy", panel.numbers || panel.failure ? null : "true");
    this.updateStrips();
    this.updateWords();
    this.updateLegend();
    this.updateFigures();
  }

  private updateStrips(): void {
    const { panel, model } = this;
    const backwards = !has(panel.entry, "query") && model.state.direction === "gives";
    for (const strip of this.strips)
      strip.update({
        units: backwards ? model.keys : model.coloured,
        scores: panel.line?.scores ?? null,
        signed: panel.entry.signed,
        theme: model.theme,
        active: model.exhibit.queries || backwards ? -1 : model.active,
        pointed: model.pointed,
        pinned: model.state.pinned,
        label: `${subject(panel.entry, model)}: tokens`,
        describe: (place) => this.describeToken(place),
      });
  }

  private updateWords(): void {
    const { panel, model } = this;
    const shown = panel.line;
    if (panel.failure !== null) say(this.answer, panel.failure);
    else if (!panel.numbers) say(this.answer, "Unpacking numbers …");
    else if (!shown) say(this.answer, `This map has no layer ${model.state.layer}.`);
    else {
      const units = has(panel.entry, "query") ? model.coloured : model.keys;
      const most = strongest(shown.values, SHOWN).map(
        (place) => `${named(units, place)} ${number(shown.values[place]!, shown.limits[0]!)}`,
      );
      say(this.answer, most.length > 0 ? `Most: ${most.join(", ")}` : "All numbers are 0.");
    }
    set(this.answer, "data-failed", panel.failure !== null);
    say(this.readout, readout(panel, model) ?? "\u00a0");
    say(this.scaling, panel.numbers ? scaling(panel, model) : "");
  }

  private updateLegend(): void {
    const { panel, model } = this;
    const largest = panel.line?.limits[0] ?? 0;
    const { signed, unit } = panel.entry;
    const { hexes } = ramp(signed, model.theme);
    const stops = Array.from({ length: 9 }, (_, stop) => hexes[Math.round((stop / 8) * (hexes.length - 1))]);
    this.bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
    say(this.low, signed ? number(-largest, largest) : "0");
    say(this.high, number(largest) + (unit && unit !== "1" ? ` ${unit}` : ""));
    set(this.legend, "aria-label", `Colours of the text run from ${this.low.textContent} to ${this.high.textContent}`);
    this.legend.hidden = !panel.line;
  }

  private updateFigures(): void {
    const { panel, model } = this;
    const { entry } = panel;
    const font = model.state.large ? 15 : 11;
    const rows = has(entry, "query");
    const columns = rows ? model.coloured : model.keys;
    const shared = { signed: entry.signed, theme: model.theme, font, bare: false };
    this.layers.update(
      panel.layers,
      panel.layers && {
        ...shared,
        rowLabels: entry.layers!.map(String),
        columnLabels: columns.map(({ name }) => name),
        lastOnTop: true,
        row: entry.layers!.indexOf(model.state.layer),
        column: model.pointed,
        label: `${subject(entry, model)}: one row per layer, the last on top. Arrow keys move, Enter chooses the layer.`,
      },
      `one row per layer, the last on top: ${subject(entry, model)}`,
    );
    const draws = model.state.direction === "draws";
    this.grid.update(
      panel.grid,
      panel.grid && {
        ...shared,
        rowLabels: model.queries.map(({ name }) => name),
        columnLabels: model.keys.map(({ name }) => name),
        lastOnTop: false,
        row: draws ? model.active : model.pointed,
        column: draws ? model.pointed : model.active,
        label: "Rows receive, columns are what they draw from. Arrow keys move, Enter pins.",
      },
      "rows receive, columns are what they draw from",
    );
  }

  private pointCell(cell: { row: number; column: number } | null): void {
    const { model } = this;
    if (!cell) return this.dispatch({ type: "look", token: null });
    const [query, key] = [model.queries[cell.row]!.pieces[0]!, model.keys[cell.column]!.pieces[0]!];
    const [token, other] = model.state.direction === "draws" ? [query, key] : [key, query];
    this.dispatch({ type: "pair", token, other });
  }

  private describeToken(place: number): string {
    const { panel, model } = this;
    const units = has(panel.entry, "query") ? model.coloured : model.keys;
    const value = panel.line?.values[place];
    return `${units[place]!.name}${value === undefined ? "" : `, ${number(value, panel.line!.limits[0]!)}`}`;
  }

  private describeCell(row: number, column: number): string {
    const { values, limits, columns } = this.panel.grid!;
    return pair(this.model, row, column, amount(values[row * columns + column]!, this.panel, limits[row]!));
  }

  private describeLayer(row: number, column: number): string {
    const { panel, model } = this;
    const { values, limits, columns } = panel.layers!;
    const text = amount(values[row * columns + column]!, panel, limits[row]!);
    const layer = `layer ${panel.entry.layers![row]}`;
    if (!has(panel.entry, "query")) return `${layer}, ${named(model.keys, column)}: ${text}`;
    const [query, key] = model.state.direction === "draws" ? [model.active, column] : [column, model.active];
    return `${layer}, ${pair(model, query, key, text)}`;
  }
}

type Given = Omit<Parameters<HeatMap["update"]>[0], "key" | "scores" | "rows" | "columns">;

/** A heat map with its name. */
class Figure {
  readonly element = h("figure");
  private readonly caption = h("figcaption");
  private readonly note = h("span");
  private readonly map: HeatMap;

  constructor(title: string, events: ConstructorParameters<typeof HeatMap>[0]) {
    this.map = new HeatMap(events);
    this.caption.append(h("strong", {}, title), " ", this.note);
    this.element.append(this.caption, this.map.element);
  }

  update(table: Table | null, view: Given | null, note: string): void {
    this.element.hidden = table === null;
    if (!table || !view) return;
    say(this.note, note);
    this.map.update({ ...view, ...table, rows: table.values.length / table.columns });
  }

  destroy(): void {
    this.map.destroy();
  }
}

function factsOf({ entry }: Panel): HTMLElement {
  const facts: [string, string][] = [
    ["formula", entry.formula],
    ["source", entry.paper],
    ["numbers", `${entry.data.bits} bits each, off by at most ${entry.data.error.toPrecision(2)} ${entry.unit === "1" ? "" : entry.unit}`],
    ...entry.facts.map(([name, value]): [string, string] => [name, value]),
  ];
  const list = h("dl");
  for (const [name, value] of facts) if (value) list.append(h("dt", {}, name), h("dd", {}, shortened(value, 2000)));
  return h("details", { class: "facts" }, h("summary", {}, "How it was made"), list);
}
