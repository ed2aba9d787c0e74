// Every layer and head at once, as small pictures: choose one to see it large.
import { h } from "./dom";
import type { Layout, MapView } from "./layout";
import { HeatMap, type MapEvents } from "./map";
import type { Model, Panel } from "./model";
import { cellsOf, drawLabels } from "./paint";
import type { Action } from "./state";

const GAP = 3;
/** Milliseconds of one frame that small pictures may take. */
const TURN = 12;

export class Overview {
  readonly element = h("figure", { class: "wide" });
  private readonly map: HeatMap;
  private panel: Panel | null = null;
  private turn = 0;

  constructor(dispatch: (action: Action) => void, announce: (text: string) => void) {
    const layerOf = (row: number): number => this.panel!.entry.layers![row]!;
    const events: MapEvents = {
      point: () => undefined,
      pick: ({ row, column }) => {
        dispatch({ type: "layer", layer: layerOf(row) });
        dispatch({ type: "set", change: { head: column } });
      },
      describe: (row, column) => `layer ${layerOf(row)}, head ${column}`,
      announce,
    };
    this.map = new HeatMap(events, (context, view, plan) => this.paint(context, view, plan));
    const caption = h("strong", {}, "Layers × heads");
    this.element.append(h("figcaption", {}, caption, " tokens × tokens of each; click one to see it alone"), this.map.element);
  }

  update(panel: Panel, model: Model): void {
    this.element.hidden = panel.small === null;
    this.panel = panel;
    if (!panel.small) return void this.turn++;
    const { state, theme } = model;
    const { entry } = panel;
    const heads = entry.shape[entry.dims.indexOf("head")]!;
    const layers = entry.layers!;
    this.map.update({
      key: [panel.index, state.words, state.special, state.target, state.scale, state.threshold].join(" "),
      rows: layers.length,
      columns: heads,
      scores: new Float32Array(layers.length * heads),
      signed: entry.signed,
      theme,
      rowLabels: layers.map(String),
      columnLabels: Array.from({ length: heads }, (_, head) => String(head)),
      lastOnTop: true,
      tall: true,
      row: layers.indexOf(state.layer),
      column: -1,
      label: "Small maps of every layer and head: one row per layer, the last on top. Arrow keys move, Enter shows one alone.",
      font: state.large ? 15 : 11,
      bare: false,
    });
  }

  focus(): void {
    this.map.element.focus();
  }

  destroy(): void {
    this.turn++;
    this.map.destroy();
  }

  /** A few per frame, so that a large model does not hold the page up. */
  private paint(context: CanvasRenderingContext2D, view: MapView, plan: Layout): void {
    const turn = ++this.turn;
    const small = this.panel!.small!;
    drawLabels(context, view, plan);
    let next = 0;
    const some = (): void => {
      if (turn !== this.turn) return;
      const begin = performance.now();
      while (next < view.rows * view.columns && performance.now() - begin < TURN) {
        const [row, column] = [Math.floor(next / view.columns), next % view.columns];
        const { scores, columns } = small(row, column);
        const picture = cellsOf({ rows: scores.length / columns, columns, scores, signed: view.signed, theme: view.theme });
        const [x, y] = [plan.left + column * plan.cellWidth, plan.top + plan.lineOf(row) * plan.cellHeight];
        context.imageSmoothingEnabled = picture.width > plan.cellWidth;
        context.drawImage(picture, x + GAP / 2, y + GAP / 2, plan.cellWidth - GAP, plan.cellHeight - GAP);
        next++;
      }
      if (next < view.rows * view.columns) requestAnimationFrame(some);
    };
    some();
  }
}
