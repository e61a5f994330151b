import { expect, test } from "vitest";
import { fromCursor, fromGlobalId, newId, toCursor, toGlobalId } from "../../src/platform/ids.ts";

test("ids survive the way out and back", () => {
  for (let i = 0; i < 100; i++) {
    const id = newId();
    expect(fromGlobalId("Generation", toGlobalId("Generation", id))).toBe(id);
    expect(fromCursor(toCursor(id), "after")).toBe(id);
  }
});

test("later ids sort behind earlier ones", () => {
  const ids = Array.from({ length: 1000 }, newId);
  expect([...ids].sort()).toEqual(ids);
});

test("an id of another type, or a changed one, is as absent as none", () => {
  const id = toGlobalId("Generation", newId());
  expect(() => fromGlobalId("Image", id)).toThrow("There is no image");
  for (const wrong of [id.slice(0, -1), `${id}A`, id.replace("gen_", "gen"), id.replace(/.$/, "~"), "__proto__"]) {
    expect(() => fromGlobalId("Generation", wrong)).toThrow("There is no generation");
  }
});
