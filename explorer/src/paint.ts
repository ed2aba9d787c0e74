// The pixels of a heat map.
import { ASIDE, ramp, step } from "./colours";
import { SLANT, type Layout, type MapView } from "./layout";

export const INKS = {
  light: { text: "#4a5160", strong: "#14171c", mark: "#c2410c", halo: "#ffffff" },
  dark: { text: "#a8b0bd", strong: "#f2f4f7", mark: "#ffb86b", halo: "#16181d" },
} as const;

/** Give a canvas its size, sharp on this screen, and units of CSS pixels. */
export function sized(canvas: HTMLCanvasElement, plan: Layout, density: number): CanvasRenderingContext2D {
  canvas.width = Math.round(plan.width * density);
  canvas.height = Math.round(plan.height * density);
  canvas.style.width = `${plan.width}px`;
  canvas.style.height = `${plan.height}px`;
  const context = canvas.getContext("2d")!;
  context.setTransform(density, 0, 0, density, 0, 0);
  return context;
}

type Cells = Pick<MapView, "rows" | "columns" | "scores" | "signed" | "theme">;

/** One pixel per cell, on a canvas of its own. */
export function cellsOf({ rows, columns, scores, signed, theme }: Cells, lineOf = (row: number): number => row): HTMLCanvasElement {
  const { bytes } = ramp(signed, theme);
  const aside = [1, 3, 5].map((at) => parseInt(ASIDE[theme].slice(at, at + 2), 16)).concat(255);
  const image = new ImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    let to = lineOf(row) * columns * 4;
    for (let place = row * columns; place < (row + 1) * columns; place++, to += 4) {
      const score = scores[place]!;
      if (Number.isNaN(score)) {
        image.data.set(aside, to);
        continue;
      }
      const from = 3 * step(score, signed);
      image.data[to] = bytes[from]!;
      image.data[to + 1] = bytes[from + 1]!;
      image.data[to + 2] = bytes[from + 2]!;
      image.data[to + 3] = 255;
    }
  }
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  small.getContext("2d")!.putImageData(image, 0, 0);
  return small;
}

/** All cells enlarged in one go, and their labels. */
export function drawCells(context: CanvasRenderingContext2D, view: MapView, plan: Layout): void {
  const { rows, columns, theme } = view;
  const small = cellsOf(view, plan.lineOf);
  // Where a cell is smaller than a pixel, neighbours must blend or some would vanish.
  context.imageSmoothingEnabled = plan.cellWidth * (window.devicePixelRatio || 1) < 1;
  const [width, height] = [columns * plan.cellWidth, rows * plan.cellHeight];
  context.drawImage(small, plan.left, plan.top, width, height);
  context.strokeStyle = theme === "light" ? "#d5dae2" : "#343a45";
  context.strokeRect(plan.left + 0.5, plan.top + 0.5, width - 1, height - 1);
  drawLabels(context, view, plan);
}

export function drawLabels(context: CanvasRenderingContext2D, view: MapView, plan: Layout): void {
  context.font = plan.font;
  context.fillStyle = INKS[view.theme].text;
  context.textBaseline = "middle";
  if (plan.rowEvery > 0)
    for (let row = 0; row < view.rows; row += plan.rowEvery) rowLabel(context, plan, row);
  if (plan.columnEvery > 0) for (let column = 0; column < view.columns; column++) columnLabel(context, view, plan, column);
}

function rowLabel(context: CanvasRenderingContext2D, plan: Layout, row: number): void {
  context.textAlign = "right";
  context.fillText(plan.rowLabels[row]!, plan.left - 6, plan.top + (plan.lineOf(row) + 0.5) * plan.cellHeight);
}

function columnLabel(context: CanvasRenderingContext2D, view: MapView, plan: Layout, column: number): void {
  const x = plan.left + (column + 0.5) * plan.cellWidth;
  const y = view.lastOnTop ? plan.top + view.rows * plan.cellHeight + 6 : plan.top - 6;
  context.save();
  context.translate(x, y);
  context.rotate(view.lastOnTop ? SLANT : -SLANT);
  context.textAlign = "left";
  context.fillText(plan.columnLabels[column]!, 0, 0);
  context.restore();
}

/** The row and column in question as frames, the cell under the pointer as a cross-hair. */
export function drawMarks(
  context: CanvasRenderingContext2D,
  view: MapView,
  plan: Layout,
  cursor: { row: number; column: number } | null,
): void {
  const colours = INKS[view.theme];
  const [width, height] = [view.columns * plan.cellWidth, view.rows * plan.cellHeight];
  const frame = (x: number, y: number, w: number, h: number, colour: string): void => {
    for (const [line, stroke] of [[3, colours.halo], [1.5, colour]] as const) {
      context.lineWidth = line;
      context.strokeStyle = stroke;
      context.strokeRect(plan.left + x, plan.top + y, w, h);
    }
  };
  const row = cursor?.row ?? view.row;
  const column = cursor?.column ?? view.column;
  const y = plan.lineOf(row) * plan.cellHeight;
  if (row >= 0) frame(0, y, width, plan.cellHeight, colours.strong);
  if (column >= 0) frame(column * plan.cellWidth, 0, plan.cellWidth, height, colours.strong);
  if (cursor) frame(column * plan.cellWidth, y, plan.cellWidth, plan.cellHeight, colours.mark);
}
