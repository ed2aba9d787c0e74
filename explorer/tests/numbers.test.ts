import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "../src/decode";
import { checked, type MapEntry } from "../src/exhibit";
import { Modeller, type Panel } from "../src/model";
import { answer, shareOf } from "../src/sentences";
import { initial, type State } from "../src/state";
import { grid, line } from "../src/tables";
import { unitsOf } from "../src/units";
import { counting, entry, exhibit, KEYS } from "./helpers";

const near = (found: Iterable<number>, wanted: number[], by = 1e-3): void => {
  const list = [...found];
  assert.equal(list.length, wanted.length);
  list.forEach((value, place) => assert.ok(Math.abs(value - wanted[place]!) <= by, `${list} is not ${wanted}`));
};

test("every kind of integer is read back", async () => {
  for (const bits of [8, 16] as const)
    for (const signed of [false, true]) {
      const values = [0.5, signed ? -2 : 2, 0, 1, 0, 0, 0, 0];
      const numbers = await decode(entry(["query", "key"], [2, 4], values, { signed }, bits));
      const [one, other] = [0, 1].map((row) => Array.from(numbers.stored.slice(4 * row, 4 * row + 4), (each) => each * numbers.steps[row]!));
      near(one!, values.slice(0, 4), bits === 8 ? 0.02 : 1e-4);
      near(other!, [0, 0, 0, 0]);
    }
});

test("damaged numbers are refused with a sentence", async () => {
  const good = entry(["query", "key"], [4, 4], counting(16));
  const broken: [Partial<MapEntry["data"]>, RegExp][] = [
    [{ values: "%%%" }, /no base64/],
    [{ values: Buffer.from("plain").toString("base64") }, /cannot be unpacked/],
    [{ values: entry(["key"], [4], counting(4)).data.values }, /16 should be there/],
    [{ scales: "AAAA" }, /damaged/],
  ];
  for (const [change, reason] of broken) await assert.rejects(decode({ ...good, data: { ...good.data, ...change } }), reason);
});

test("documents that cannot be shown are refused", () => {
  const good = exhibit([entry(["query", "key"], [4, 4], counting(16))]);
  assert.equal(checked(good), good);
  assert.throws(() => checked(null), /no exhibit/);
  assert.throws(() => checked({ ...good, version: 2 }), /version 2/);
  assert.throws(() => checked({ ...good, maps: [] }), /no map/);
  assert.throws(() => checked({ ...good, keys: { ...KEYS, gaps: [""] } }), /4 keys came with 1 gaps/);
  assert.throws(() => checked(exhibit([entry(["query", "key"], [3, 4], counting(12))])), /3 numbers along query/);
  assert.throws(() => checked(exhibit([entry(["key", "query"], [4, 4], counting(16))])), /cannot be shown/);
});

// Number of (layer, head, query, key): 64 layer + 16 head + 4 query + key + 1.
const ALL = entry(["layer", "head", "query", "key"], [2, 2, 4, 4], counting(2 * 2 * 4 * 4));
const value = (layer: number, head: number, query: number, key: number): number => 32 * layer + 16 * head + 4 * query + key + 1;

test("lines and grids take the mean over heads and over the tokens that receive, the sum over those that give", async () => {
  const numbers = await decode(ALL);
  const pieces = unitsOf(KEYS, false, true);
  const words = unitsOf(KEYS, true, true);
  const place = { layer: 1, target: 0, heads: [0, 1] };
  const mean = (query: number, key: number): number => (value(1, 0, query, key) + value(1, 1, query, key)) / 2;
  near(line(numbers, place, "draws", pieces[3]!, pieces), [0, 1, 2, 3].map((key) => mean(3, key)));
  near(line(numbers, place, "gives", pieces[3]!, pieces), [0, 1, 2, 3].map((query) => mean(query, 3)));
  near(line(numbers, { ...place, heads: [1] }, "draws", pieces[0]!, pieces), [0, 1, 2, 3].map((key) => value(1, 1, 0, key)));
  // The word "deeply" is tokens 1 and 2.
  const merged = (queries: number[], keys: number[]): number =>
    queries.reduce((sum, query) => sum + keys.reduce((inner, key) => inner + mean(query, key), 0), 0) / queries.length;
  const groups = [[0], [1, 2], [3]];
  near(grid(numbers, place, words, words), groups.flatMap((queries) => groups.map((keys) => merged(queries, keys))));
  near(line(numbers, place, "gives", words[1]!, words), groups.map((queries) => merged(queries, [1, 2])));
});

test("scales: each row its own, one per picture, or shared by methods of one unit", async () => {
  const one = entry(["query", "key"], [4, 4], counting(16));
  const twice = entry(["query", "key"], [4, 4], counting(16).map((each) => 2 * each));
  const shares = entry(["query", "key"], [4, 4], counting(16).map((each) => 3 * each), { quantity: "share", unit: "1" });
  const document = exhibit([one, twice, shares]);
  const loaded = await Promise.all(document.maps.map(decode));
  const start: State = { ...initial(document), maps: [0, 1, 2], token: 1, special: "coloured" };
  const make = (change: Partial<State>) => new Modeller(document).make({ ...start, ...change }, loaded, "light").panels;
  const limits = (change: Partial<State>) => make(change).map(({ line, grid }) => [line!.limits[0], grid!.limits[0], grid!.limits[3]]);
  assert.deepEqual(limits({}), [[8, 4, 16], [16, 8, 32], [24, 12, 48]]);
  assert.deepEqual(limits({ scale: "table" }), [[16, 16, 16], [32, 32, 32], [48, 48, 48]]);
  assert.deepEqual(limits({ shared: true }), [[16, 8, 32], [16, 8, 32], [24, 12, 48]]);
  near(make({ shared: true })[0]!.line!.scores, [5, 6, 7, 8].map((each) => each / 16));
  near(make({ threshold: 0.8 })[0]!.line!.scores, [0, 0, 7 / 8, 1]);
  near(make({ special: "hidden" })[0]!.line!.values, [6, 7, 8]);
  assert.equal(make({ special: "hidden" })[0]!.grid!.values.length, 9);
});

test("special tokens stand aside: they neither stretch the scale nor take a colour", async () => {
  const values = [90, 1, 2, 3, 80, 4, 5, 6, 70, 7, 8, 9, 60, 10, 11, 12];
  const document = exhibit([entry(["query", "key"], [4, 4], values)]);
  const loaded = await Promise.all(document.maps.map(decode));
  const make = (change: Partial<State>) => new Modeller(document).make({ ...initial(document), token: 1, ...change }, loaded, "light");
  const { line, grid } = make({}).panels[0]!;
  assert.ok(Math.abs(line!.limits[0]! - 6) < 0.01);
  assert.ok(Number.isNaN(line!.scores[0]!));
  near([...line!.scores].slice(1), [4 / 6, 5 / 6, 1]);
  near([...grid!.limits], [3, 6, 9, 12]);
  near([...make({ scale: "table" }).panels[0]!.line!.limits], [12]);
  near([...make({ special: "coloured" }).panels[0]!.line!.limits], [80]);
  assert.match(answer(make({}).panels[0]!, make({})), /^Most: .*film.* 6\.3 %.*Special tokens hold 84 %\.$/);
});

test("shares are of all that the row receives, whatever is shown of it", async () => {
  const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
  const heads = [...values, ...values.map((each) => 2 * each)];
  const document = exhibit([entry(["query", "key"], [4, 4], values), entry(["head", "query", "key"], [2, 4, 4], heads)]);
  const loaded = await Promise.all(document.maps.map(decode));
  const make = (map: number, change: Partial<State>) =>
    new Modeller(document).make({ ...initial(document), maps: [map], token: 1, ...change }, loaded, "light").panels[0]!;
  const shares = (panel: Panel, row = 0) => Array.from({ length: panel.line!.columns }, (_, at) => panel.line!.values[at]! / panel.line!.whole(row, at));
  near(shares(make(0, {})), [5, 6, 7, 8].map((each) => each / 26));
  near(shares(make(0, { special: "hidden" })), [6, 7, 8].map((each) => each / 26));
  near(shares(make(0, { direction: "gives" })), [2 / 10, 6 / 26, 10 / 42, 14 / 58]);
  near(shares(make(1, {})), [5, 6, 7, 8].map((each) => each / 26));
  const { grid, heads: each } = make(1, { head: "each" });
  near([grid!.whole(3, 0), each[1]!.whole(0, 0)], [1.5 * 58, 20]);
  assert.equal(shareOf(-3, 12, true), "\u221225 %");
  assert.equal(shareOf(3, 12, true), "+25 %");
  assert.equal(shareOf(3, 0, false), "0 %");
});

test("maps with other axes: layers and targets of one score", async () => {
  const targets = entry(["target", "key"], [2, 4], [1, 2, 3, 4, -5, 6, 7, 8], { signed: true, targets: ["yes", "no"] });
  const layers = entry(["layer", "key"], [2, 4], counting(8));
  const document = exhibit([targets, layers]);
  const loaded = await Promise.all(document.maps.map(decode));
  const state: State = { ...initial(document), maps: [0, 1], layer: 1, target: 1, direction: "gives" };
  const [first, second] = new Modeller(document).make(state, loaded, "light").panels;
  near(first!.line!.values, [-5, 6, 7, 8]);
  assert.equal(first!.grid, null);
  near(second!.line!.values, [5, 6, 7, 8]);
  near(second!.layers!.values, counting(8));
});
