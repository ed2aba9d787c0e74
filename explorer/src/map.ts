// A heat map on canvas: one picture for the cells, drawn when numbers change, and one above it for the cross-hair.
import { h, say, set } from "./dom";
import { layout, type Layout, type MapView } from "./layout";
import { drawCells, drawMarks, sized } from "./paint";

export interface MapEvents {
  /** The pointer or the arrow keys are on a cell; null: on none. */
  point(cell: { row: number; column: number } | null): void;
  pick(cell: { row: number; column: number }): void;
  /** A cell in words. */
  describe(row: number, column: number): string;
  announce(text: string): void;
}

export class HeatMap {
  readonly element = h("div", { class: "map", tabindex: 0, role: "application", "aria-roledescription": "heat map" });
  private readonly cells = h("canvas");
  private readonly marks = h("canvas", { class: "marks" });
  private readonly scroll = h("div", { class: "scrolled" });
  private readonly tip = h("div", { class: "tip", hidden: true });
  private view: MapView | null = null;
  private plan: Layout | null = null;
  private drawn = "";
  private cursor: { row: number; column: number } | null = null;
  private readonly watcher = new ResizeObserver(() => this.redraw());

  constructor(
    private readonly events: MapEvents,
    private readonly paint: typeof drawCells = drawCells,
  ) {
    const { element, marks } = this;
    // The tip stands outside of what scrolls: nothing may cut it off.
    element.append(this.scroll, this.tip);
    this.scroll.append(h("div", { class: "stack" }, this.cells, marks));
    marks.addEventListener("pointermove", (event) => this.move(event));
    marks.addEventListener("pointerleave", () => this.leave());
    marks.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) this.events.pick(cell);
    });
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("blur", () => this.leave());
    this.watcher.observe(element);
  }

  destroy(): void {
    this.watcher.disconnect();
  }

  update(view: MapView): void {
    // Cells that moved from under a pointer at rest are not those that it pointed at.
    if (this.view && (this.view.rows !== view.rows || this.view.columns !== view.columns)) this.cursor = null;
    this.view = view;
    set(this.element, "aria-label", view.label);
    this.redraw();
  }

  /** What is drawn now, to save it. */
  get picture(): { view: MapView; plan: Layout } | null {
    return this.view && this.plan ? { view: this.view, plan: this.plan } : null;
  }

  private redraw(): void {
    const width = this.element.clientWidth;
    if (!this.view || width === 0) return;
    const density = window.devicePixelRatio || 1;
    const key = `${this.view.key} ${this.view.theme} ${width} ${density} ${this.view.font}`;
    if (key !== this.drawn) {
      this.drawn = key;
      this.plan = layout(this.view, width, density);
      this.paint(sized(this.cells, this.plan, density), this.view, this.plan);
      sized(this.marks, this.plan, density);
      const { left, top, cellWidth, cellHeight } = this.plan;
      set(this.element, "data-cells", [left, top, cellWidth, cellHeight].join(" "));
    }
    this.remark();
  }

  private remark(): void {
    const { view, plan } = this;
    if (!view || !plan) return;
    const context = this.marks.getContext("2d")!;
    context.clearRect(0, 0, plan.width, plan.height);
    drawMarks(context, view, plan, this.cursor);
    this.showTip(plan);
  }

  /** Below and right of the cell where there is room; never outside the map. */
  private showTip(plan: Layout): void {
    this.tip.hidden = this.cursor === null;
    if (!this.cursor) return;
    const { row, column } = this.cursor;
    say(this.tip, this.events.describe(row, column));
    const x = plan.left + (column + 1) * plan.cellWidth - this.scroll.scrollLeft + 8;
    const y = plan.top + plan.lineOf(row) * plan.cellHeight;
    const below = y < 0.6 * plan.height;
    this.tip.style.left = `${Math.max(0, Math.min(x, this.element.clientWidth - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${below ? y + plan.cellHeight + 8 : y - this.tip.offsetHeight - 8}px`;
  }

  private cellAt(event: MouseEvent): { row: number; column: number } | null {
    const { view, plan } = this;
    if (!view || !plan) return null;
    const column = Math.floor((event.offsetX - plan.left) / plan.cellWidth);
    const drawn = Math.floor((event.offsetY - plan.top) / plan.cellHeight);
    if (column < 0 || drawn < 0 || column >= view.columns || drawn >= view.rows) return null;
    return { row: plan.lineOf(drawn), column };
  }

  private move(event: PointerEvent): void {
    const cell = this.cellAt(event);
    if (cell?.row === this.cursor?.row && cell?.column === this.cursor?.column) return;
    this.go(cell);
  }

  private leave(): void {
    if (this.cursor) this.go(null);
  }

  private go(cell: { row: number; column: number } | null): void {
    this.cursor = cell;
    this.remark();
    this.events.point(cell);
  }

  private key(event: KeyboardEvent): void {
    const { view } = this;
    if (!view) return;
    const from = this.cursor ?? { row: Math.max(0, view.row), column: Math.max(0, view.column) };
    const up = view.lastOnTop ? 1 : -1;
    const moves: Record<string, [number, number]> = {
      ArrowUp: [up, 0],
      ArrowDown: [-up, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      Home: [0, -view.columns],
      End: [0, view.columns],
    };
    const move = moves[event.key];
    if (event.key === "Enter" || event.key === " ") this.events.pick(from);
    else if (move) {
      const inside = (place: number, count: number): number => Math.max(0, Math.min(count - 1, place));
      // The first key press shows where the cursor is.
      const by = this.cursor ? move : [0, 0];
      const cell = { row: inside(from.row + by[0]!, view.rows), column: inside(from.column + by[1]!, view.columns) };
      this.go(cell);
      this.events.announce(this.events.describe(cell.row, cell.column));
    } else return;
    event.preventDefault();
  }
}
