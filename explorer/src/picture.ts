// A heat map as a file: PNG as it is drawn, SVG of shapes and texts.
import { ASIDE, background } from "./colours";
import { keep } from "./saving";
import { SLANT, type Layout, type MapView } from "./layout";
import { drawCells, INKS, sized } from "./paint";

const SPACE = "http://www.w3.org/2000/svg";
/** Pixels of a PNG per pixel of the page: enough for print. */
const DENSITY = 3;
/** No canvas of a browser may be larger. */
const LARGEST = 16_000;

export type Kind = "png" | "svg";

export function savePicture(kind: Kind, name: string, view: MapView, plan: Layout): void {
  const file = `${name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase()}.${kind}`;
  if (kind === "svg") return keep(new Blob([svgOf(view, plan)], { type: "image/svg+xml" }), file);
  const canvas = document.createElement("canvas");
  const density = Math.min(DENSITY, LARGEST / Math.max(plan.width, plan.height));
  const context = sized(canvas, plan, density);
  context.fillStyle = INKS[view.theme].halo;
  context.fillRect(0, 0, plan.width, plan.height);
  drawCells(context, view, plan);
  canvas.toBlob((blob) => blob && keep(blob, file), "image/png");
}

/** Built of elements, so that no label can be more than a text. */
export function svgOf(view: MapView, plan: Layout): string {
  const { width, height, left, top, cellWidth, cellHeight } = plan;
  const colours = INKS[view.theme];
  const root = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif", "font-size": view.font });
  root.append(element("rect", { width, height, fill: colours.halo }));
  const cells = element("g", { "shape-rendering": "crispEdges" });
  for (let row = 0; row < view.rows; row++)
    for (const [column, count, fill] of runs(view, row))
      cells.append(element("rect", { x: left + column * cellWidth, y: top + plan.lineOf(row) * cellHeight, width: count * cellWidth, height: cellHeight, fill }));
  root.append(cells);
  const texts = element("g", { fill: colours.text, "dominant-baseline": "central" });
  if (plan.rowEvery > 0)
    for (let row = 0; row < view.rows; row += plan.rowEvery)
      texts.append(label(plan.rowLabels[row]!, { x: left - 6, y: top + (plan.lineOf(row) + 0.5) * cellHeight, "text-anchor": "end" }));
  if (plan.columnEvery > 0)
    plan.columnLabels.forEach((text, column) => {
      const [x, y] = [left + (column + 0.5) * cellWidth, view.lastOnTop ? top + view.rows * cellHeight + 6 : top - 6];
      const turn = ((view.lastOnTop ? 1 : -1) * SLANT * 180) / Math.PI;
      texts.append(label(text, { transform: `translate(${x} ${y}) rotate(${turn})` }));
    });
  root.append(texts);
  return new XMLSerializer().serializeToString(root);
}

/** Neighbours of one colour as one shape: where it begins, how many cells it has, and its colour. */
function runs({ scores, columns, signed, theme }: MapView, row: number): [number, number, string][] {
  const found: [number, number, string][] = [];
  for (let column = 0; column < columns; column++) {
    const score = scores[row * columns + column]!;
    const colour = Number.isNaN(score) ? ASIDE[theme] : background(score, signed, theme);
    const last = found[found.length - 1];
    if (last?.[2] === colour) last[1]++;
    else found.push([column, 1, colour]);
  }
  return found;
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, typeof value === "number" ? String(Math.round(100 * value) / 100) : value);
  return made;
}

function label(text: string, attributes: Record<string, string | number>): SVGElement {
  const made = element("text", attributes);
  made.textContent = text;
  return made;
}
