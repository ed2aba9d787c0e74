import assert from "node:assert/strict";
import { test } from "node:test";
import { initial, reduce, type Action, type State } from "../src/state";
import { counting, entry, exhibit, KEYS } from "./helpers";

const deep = entry(["layer", "query", "key"], [3, 4, 4], counting(48), { layers: [0, 1, 5] });
const flat = entry(["query", "key"], [4, 4], counting(16));
const document = exhibit([flat, deep], { start: { map: 1, layer: 1, query: 2 } });
const after = (...actions: Action[]): State => actions.reduce((state, action) => reduce(state, action, document), initial(document));

test("it starts where the exhibit says", () => {
  const { maps, layer, token, direction, head } = initial(document);
  assert.deepEqual({ maps, layer, token, direction, head }, { maps: [1], layer: 1, token: 2, direction: "draws", head: "mean" });
  assert.equal(initial(exhibit([deep], { start: { map: 0, layer: 3, query: 0 } })).layer, 5);
});

test("of several outputs the explained one is shown first, else the predicted one", () => {
  const targets = entry(["target", "key"], [2, 4], counting(8), { targets: ["yes", "no"] });
  const prediction = { label: "no", probability: 0.9 };
  assert.equal(initial(exhibit([flat, targets], { prediction })).target, 1);
  assert.equal(initial(exhibit([flat, targets], { prediction, target: { label: "yes", foil: null } })).target, 0);
});

test("pointing asks, until a token is pinned: then it asks about a pair", () => {
  assert.equal(after({ type: "point", token: 3 }).token, 3);
  const pinned = after({ type: "pin", token: 1 }, { type: "point", token: 3 });
  assert.deepEqual([pinned.token, pinned.pointed, pinned.pinned], [1, 3, true]);
  assert.equal(after({ type: "pin", token: 1 }, { type: "pin", token: 1 }).pinned, false);
  const free = reduce(pinned, { type: "unpin" }, document);
  assert.deepEqual([free.token, free.pointed, free.pinned], [1, null, false]);
  const cell = after({ type: "pair", token: 0, other: 3 });
  assert.deepEqual([cell.token, cell.pointed], [0, 3]);
  assert.equal(reduce(pinned, { type: "pair", token: 0, other: 2 }, document).token, 1);
});

test("where queries are other tokens, pointing at the coloured side never changes the question", () => {
  const cross = exhibit([entry(["query", "key"], [2, 4], counting(8))], {
    queries: { ...KEYS, pieces: ["a", "b"], gaps: ["", " "], tokens: ["a", "b"], special: [], words: null },
  });
  const state = reduce(initial(cross), { type: "point", token: 3 }, cross);
  assert.deepEqual([state.token, state.pointed], [0, 3]);
  const turned = reduce(state, { type: "turn" }, cross);
  assert.deepEqual([turned.direction, turned.token], ["gives", 3]);
  assert.equal(reduce(turned, { type: "turn" }, cross).token, 1);
});

test("play goes through the layers that there are, and a choice by hand ends it", () => {
  const playing = after({ type: "play", playing: true });
  const layers = [1, 2, 3, 4].map((ticks) => {
    let state = playing;
    for (let tick = 0; tick < ticks; tick++) state = reduce(state, { type: "tick" }, document);
    return state.layer;
  });
  assert.deepEqual(layers, [5, 0, 1, 5]);
  assert.equal(reduce(playing, { type: "layer", layer: 0 }, document).playing, false);
  assert.equal(after({ type: "tick" }).layer, 1);
});

test("methods: one alone, several in order, never none", () => {
  assert.deepEqual(after({ type: "method", map: 0, alone: true }).maps, [0]);
  assert.deepEqual(after({ type: "method", map: 0, alone: false }).maps, [0, 1]);
  assert.deepEqual(after({ type: "method", map: 1, alone: false }).maps, [1]);
});
