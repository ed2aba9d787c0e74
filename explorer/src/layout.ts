// Where the cells and labels of a heat map lie; plain arithmetic.
import type { Theme } from "./model";
import { shortened } from "./words";

export interface MapView {
  /** Changes exactly when cells or labels do. */
  readonly key: string;
  readonly rows: number;
  readonly columns: number;
  readonly scores: Float32Array;
  readonly signed: boolean;
  readonly theme: Theme;
  readonly rowLabels: readonly string[];
  readonly columnLabels: readonly string[];
  /** Rows are layers: numbered from below, and lower than wide. */
  readonly lastOnTop: boolean;
  /** Cells hold pictures: as high as wide. */
  readonly tall?: boolean;
  /** The marked row and column; -1: none. */
  readonly row: number;
  readonly column: number;
  readonly label: string;
  readonly font: number;
  /** Small multiples go without labels. */
  readonly bare: boolean;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly cellWidth: number;
  readonly cellHeight: number;
  readonly font: string;
  /** Every how many rows and columns have a label; 0: none. */
  readonly rowEvery: number;
  readonly columnEvery: number;
  readonly rowLabels: readonly string[];
  readonly columnLabels: readonly string[];
  /** The row that is drawn on a line, and the line of a row. */
  readonly lineOf: (row: number) => number;
}

/** How column labels lean. */
export const SLANT = Math.PI / 3;
const LABEL = 14;
/** Cells fill the width of their column, and are no higher than this. */
const HIGHEST = 34;
const TALLEST = 150;

/** The largest cells that fit, with labels where these stay apart. */
export function layout(view: MapView, width: number, density: number): Layout {
  const font = `${view.font}px system-ui, sans-serif`;
  const [rowLabels, columnLabels] = [view.rowLabels, view.columnLabels].map((labels) =>
    labels.map((label) => shortened(label, LABEL)),
  ) as [string[], string[]];
  const rowWidth = view.bare ? 0 : widest(rowLabels, font) + 8;
  const longest = view.bare ? 0 : widest(columnLabels, font);
  const [across, down] = [longest * Math.cos(SLANT) + view.font, longest * Math.sin(SLANT) + view.font];
  const cell = (space: number): number => {
    const pixels = (space * density) / view.columns;
    // Whole pixels, so that no cell looks larger than its neighbour, unless that would leave much space unused.
    return (view.bare ? pixels : Math.max(1, pixels < 4 ? pixels : Math.floor(pixels))) / density;
  };
  const most = view.tall ? TALLEST : Infinity;
  const labelled = Math.min(most, cell(width - rowWidth - across));
  const fits = !view.bare && labelled * Math.sin(SLANT) >= view.font;
  const left = view.lastOnTop || fits ? rowWidth : 0;
  const right = fits ? across : 0;
  const cellWidth = fits ? labelled : Math.min(most, cell(width - left));
  const cellHeight = view.tall ? Math.min(cellWidth, TALLEST) : view.lastOnTop ? Math.min(22, Math.max(10, Math.round(260 / view.rows))) : Math.min(view.bare ? cellWidth : HIGHEST, cellWidth);
  const above = fits && !view.lastOnTop ? down : 0;
  const below = fits && view.lastOnTop ? down : 0;
  return {
    left,
    top: above,
    width: left + view.columns * cellWidth + right,
    height: above + view.rows * cellHeight + below,
    cellWidth,
    cellHeight,
    font,
    rowEvery: view.bare || left === 0 ? 0 : Math.ceil((view.font * 0.85) / cellHeight),
    columnEvery: fits ? 1 : 0,
    rowLabels,
    columnLabels,
    lineOf: view.lastOnTop ? (row) => view.rows - 1 - row : (row) => row,
  };
}

let ruler: CanvasRenderingContext2D | null = null;

function widest(labels: readonly string[], font: string): number {
  ruler ??= document.createElement("canvas").getContext("2d")!;
  ruler.font = font;
  return Math.max(0, ...labels.map((label) => ruler!.measureText(label).width));
}
