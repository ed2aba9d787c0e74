import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesOf, readable, stateOf } from "../src/address";
import { initial, type State } from "../src/state";
import { counting, entry, exhibit } from "./helpers";

const DOCUMENT = exhibit([
  entry(["layer", "query", "key"], [3, 4, 4], counting(48), { name: "globenc" }),
  entry(["key"], [4], counting(4), { name: "norm+rollout" }),
]);

test("an address holds what differs from the start, and brings it back", () => {
  const start = initial(DOCUMENT);
  assert.equal(readable(choicesOf(start, DOCUMENT)), "");
  const chosen: State = {
    ...start, maps: [0, 1], layer: 1, token: 3, pinned: true, direction: "gives", head: 2, target: 1, words: true,
    special: "hidden", raw: true, threshold: 0.25, scale: "table", shared: true, grey: true, cover: 0.35,
  };
  const text = readable(choicesOf(chosen, DOCUMENT));
  assert.match(text, /^method=globenc,norm%2Brollout&token=3&layer=1&/);
  assert.deepEqual(stateOf(new URLSearchParams(text), DOCUMENT), chosen);
});

test("what an address cannot mean here is left as it is", () => {
  const text = "method=none,alert(1)&token=99&layer=7&head=x&target=-1&direction=up&special=no&threshold=9e9&scale=&numbers=%3Cb%3E&cover=-1";
  assert.deepEqual(stateOf(new URLSearchParams(text), DOCUMENT), { ...initial(DOCUMENT), threshold: 0.9 });
});
