// From numbers to colours, the same as Python's `contextmix.views.drawing.colours` (a test compares the two).
//
// Numbers without sign run through one hue (blue), numbers with sign from blue over neutral to red: steady in
// lightness, never red against green. The zero of a scale is the colour of the page.
import { rgb } from "d3-color";
import { interpolateRgb, piecewise } from "d3-interpolate";

export type Theme = "light" | "dark";

// ColorBrewer's Blues and RdBu (Brewer 2003, marked colour-blind safe), and their like for a dark page.
const STOPS: Record<Theme, { plain: string; signed: string }> = {
  light: {
    plain: "ffffff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b",
    signed: "053061 2166ac 4393c3 92c5de d1e5f0 ffffff fddbc7 f4a582 d6604d b2182b 67001f",
  },
  dark: {
    plain: "16181d 10273f 0f3d66 175a94 2f7dbb 5aa2d6 94c7ea cfe7f7",
    signed: "cfe7f7 5aa2d6 1f5f95 16344f 16181d 55201c 9c3a2c e37d62 fdd5c5",
  },
};

/** Of what stands outside the scale. */
export const ASIDE: Record<Theme, string> = { light: "#e4e6ea", dark: "#33373f" };

const STEPS = 256;

/** A scale as a table: three bytes for each of 256 steps from 0 to 1, or 511 from -1 to 1. */
export interface Ramp {
  readonly signed: boolean;
  readonly bytes: Uint8Array;
  readonly hexes: readonly string[];
  readonly inks: readonly string[];
}

const made = new Map<string, Ramp>();

export function ramp(signed: boolean, theme: Theme): Ramp {
  const key = `${theme}${signed}`;
  let found = made.get(key);
  if (!found) made.set(key, (found = makeRamp(signed, theme)));
  return found;
}

/** Which step of its ramp a score takes. */
export function step(score: number, signed: boolean): number {
  const inside = Math.min(1, Math.max(signed ? -1 : 0, score));
  return Math.round((inside + (signed ? 1 : 0)) * (STEPS - 1));
}

/** The colour of a score, such as "#08306b". */
export function background(score: number, signed: boolean, theme: Theme): string {
  return ramp(signed, theme).hexes[step(score, signed)]!;
}

/** Black or white, whichever reads better on a colour (WCAG contrast). */
export function ink(colour: string): string {
  const { r, g, b } = rgb(colour);
  const [red, green, blue] = [r, g, b].map((channel) => {
    const part = channel / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? "#000000" : "#ffffff";
}

function makeRamp(signed: boolean, theme: Theme): Ramp {
  const stops = STOPS[theme][signed ? "signed" : "plain"].split(" ").map((stop) => `#${stop}`);
  const mix = piecewise(interpolateRgb, stops);
  const steps = signed ? 2 * STEPS - 1 : STEPS;
  const bytes = new Uint8Array(3 * steps);
  const hexes: string[] = [];
  for (let place = 0; place < steps; place++) {
    const colour = rgb(mix(place / (steps - 1)));
    const channels = [colour.r, colour.g, colour.b].map(Math.round);
    bytes.set(channels, 3 * place);
    hexes.push(rgb(...(channels as [number, number, number])).formatHex());
  }
  return { signed, bytes, hexes, inks: hexes.map(ink) };
}
