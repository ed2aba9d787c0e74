import assert from "node:assert/strict";
import { test } from "node:test";
import { background, ink } from "../src/colours";
import { directionOf, margin, number, percent, shortened, visible } from "../src/words";
import { unitsOf } from "../src/units";
import { KEYS } from "./helpers";

test("what cannot be seen is made visible, as in Python", () => {
  const cases: [string, string][] = [
    ["a\n", "a\u23ce"], [" ", "\u2423"], ["\x1b[2J", "\u241b[2J"], ["", "\u2205"],
    ["\u202eevil", "\u27e8U+202E\u27e9evil"], ["zero\u200bwidth", "zero\u27e8U+200B\u27e9width"],
    ["\ud800", "\u27e8U+D800\u27e9"], ["\u{1f469}\u200d\u{1f4bb}", "\u{1f469}\u200d\u{1f4bb}"], ["\u{e0041}", "\u27e8U+E0041\u27e9"],
  ];
  for (const [given, wanted] of cases) assert.equal(visible(given), wanted);
});

test("long texts are cut between characters", () => {
  assert.equal(shortened("x".repeat(10_000), 5), "xxxx\u2026");
  assert.equal(shortened("\u{1f600}\u{1f600}\u{1f600}", 2), "\u{1f600}\u2026");
  assert.equal(shortened("film", 4), "film");
});

test("numbers have the decimals of the largest beside them", () => {
  const found = [number(0.0301, 0.512), number(120, 120), number(-3.2, 120), number(-0.0001, 10), number(1.2e7), number(0)];
  assert.deepEqual(found, ["0.030", "120", "\u22123", "0.0", "1.20e7", "0.000"]);
  assert.deepEqual([margin(0), margin(0.00037), margin(18)], ["", " \u00b1 0.0004", " \u00b1 20"]);
  assert.deepEqual([0, 0.05, 0.5, 0.9972, 0.99999, 1].map(percent), ["0 %", "5.0 %", "50 %", "99.7 %", "> 99.9 %", "100 %"]);
});

test("the text runs the way of most of its letters", () => {
  assert.equal(directionOf(["\u0645\u0631\u062d\u0628\u0627", "ok"]), "rtl");
  assert.equal(directionOf(["film", "\u0645"]), "ltr");
});

test("words join their tokens as the text reads; special tokens stay alone", () => {
  const names = (words: boolean, special: boolean) => unitsOf(KEYS, words, special).map(({ gap, label, name }) => [gap, label, name]);
  assert.deepEqual(names(true, true), [["", "[CLS]", "[CLS]"], [" ", "deeply", "deeply"], [" ", "film", "film"]]);
  assert.deepEqual(names(false, false), [[" ", "deep", "deep"], ["", "ly", "##ly"], [" ", "film", "film"]]);
});

test("text reads on every colour (WCAG AA)", () => {
  const channel = (hex: string): number => {
    const part = parseInt(hex, 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const luminance = (c: string): number =>
    0.2126 * channel(c.slice(1, 3)) + 0.7152 * channel(c.slice(3, 5)) + 0.0722 * channel(c.slice(5, 7));
  for (const theme of ["light", "dark"] as const)
    for (const signed of [false, true])
      for (let score = signed ? -1 : 0; score <= 1; score += 0.01) {
        const colour = background(score, signed, theme);
        const [one, other] = [luminance(colour), luminance(ink(colour))].sort((a, b) => b - a) as [number, number];
        assert.ok((one + 0.05) / (other + 0.05) >= 4.5, `${colour} ${ink(colour)}`);
      }
});
