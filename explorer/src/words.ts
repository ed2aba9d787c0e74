// Texts for the eye: every label is data, may be hostile, and is only ever set as text.

const NAMED: Record<string, string> = { "\n": "\u23ce", "\r": "\u240d", "\t": "\u21e5", "\x7f": "\u2421" };
// Controls, formats (zero-width, direction marks, tags), line separators, lone surrogates; joiners stay: scripts need them.
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const LETTER = /\p{L}/u;

/** The same text with what cannot be seen made visible, as Python's `tokens.printable` does. */
export function visible(text: string): string {
  const blank = /^[\p{Zs}\u200c\u200d]*$/u.test(text);
  const shown = text.replace(UNSEEN, (found) => NAMED[found] ?? coded(found));
  if (!blank) return shown;
  return shown.replace(/\p{Zs}/gu, "\u2423").replace(/[\u200c\u200d]/g, coded) || "\u2205";
}

function coded(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 32) return String.fromCharCode(0x2400 + code);
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

/** At most `limit` characters, never half of one. */
export function shortened(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const characters = Array.from(text.slice(0, 2 * limit + 2));
  return characters.length <= limit ? text : `${characters.slice(0, limit - 1).join("")}…`;
}

/** The direction in which most of a text is written. */
export function directionOf(labels: readonly string[]): "ltr" | "rtl" {
  let right = 0;
  let left = 0;
  for (const label of labels)
    for (const character of label.slice(0, 40))
      if (RIGHT_TO_LEFT.test(character)) right++;
      else if (LETTER.test(character)) left++;
  return right > left ? "rtl" : "ltr";
}

/** A name between quotes, kept apart from the direction of what stands around it. */
export function quoted(label: string, limit = 40): string {
  return `“\u2068${shortened(label, limit)}\u2069”`;
}

/**
 * A number with as many decimals as suit the largest it stands with.
 *
 * number(0.0301, 0.512) is 0.030, number(120, 120) is 120, number(1e-7, 1e-7) is 1.00e-7.
 */
export function number(value: number, largest = Math.abs(value)): string {
  const exponent = largest > 0 ? Math.floor(Math.log10(largest)) : 0;
  if (exponent <= -4 || exponent >= 6) return value.toExponential(2).replace("e+", "e").replace(/-/g, "−");
  const text = value.toFixed(Math.max(2 - exponent, largest <= 1 ? 3 : 0));
  return /^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

/** The half-width of what rounding may have changed. */
export function margin(error: number): string {
  if (error <= 0) return "";
  const rounded = Number(error.toPrecision(1));
  return ` ± ${rounded >= 1 && rounded < 1e6 ? rounded : String(rounded).replace("e+", "e").replace("-", "−")}`;
}

export function percent(share: number): string {
  const text = (100 * share).toFixed(share === 0 || (share >= 0.0995 && share < 0.995) ? 0 : 1);
  return `${share < 1 && text === "100.0" ? "> 99.9" : text.replace("100.0", "100")} %`;
}
