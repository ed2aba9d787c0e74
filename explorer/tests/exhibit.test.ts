import assert from "node:assert/strict";
import { test } from "node:test";
import { checked } from "../src/exhibit";

test("anything but an exhibit is refused", () => {
  assert.throws(() => checked(null), /no exhibit/);
  assert.throws(() => checked({ format: "contextmix/exhibit", version: 2 }), /version 2/);
});
