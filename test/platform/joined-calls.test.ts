import { expect, test } from "vitest";
import { JoinedCalls } from "../../src/platform/joined-calls.ts";

interface Run {
  readonly line: string;
  readonly items: readonly string[];
  end(): void;
}

/** Calls whose runs go on until they are told to end; an item is the same as others with its first letter. */
function setup(maxItems = 10) {
  const runs: Run[] = [];
  let notice = (): void => {};
  const calls = new JoinedCalls<string, string>({
    run: (line, items) => {
      if (items.includes("poison")) return Promise.reject(new Error("poisoned"));
      return new Promise((resolve) => {
        const end = (): void => resolve(items.map((item) => ({ status: "fulfilled", value: `${item} done` })));
        runs.push({ line, items, end });
        notice();
      });
    },
    sameness: (item) => item.slice(0, 1),
    maxItems,
  });
  const run = async (index: number): Promise<Run> => {
    while (runs[index] === undefined) await new Promise<void>((resolve) => (notice = resolve));
    return runs[index];
  };
  return { calls, runs, run };
}

test("calls of one turn go together, and those that come in meanwhile after them", async () => {
  const { calls, run } = setup();
  const first = [calls.call("x", "a"), calls.call("x", "b")];
  expect((await run(0)).items).toEqual(["a", "b"]);
  const second = [calls.call("x", "c"), calls.call("x", "d")];
  (await run(0)).end();
  expect(await Promise.all(first)).toEqual(["a done", "b done"]);
  expect((await run(1)).items).toEqual(["c", "d"]);
  (await run(1)).end();
  expect(await Promise.all(second)).toEqual(["c done", "d done"]);
});

test("lines do not wait for each other", async () => {
  const { calls, run } = setup();
  const slow = calls.call("x", "a");
  const quick = calls.call("y", "b");
  expect((await run(1)).line).toBe("y");
  (await run(1)).end();
  expect(await quick).toBe("b done");
  (await run(0)).end();
  expect(await slow).toBe("a done");
});

test("calls that are the same go one after the other, and no more than allowed together", async () => {
  const { calls, run } = setup(2);
  const all = ["a1", "a2", "b", "c", "a3"].map((item) => calls.call("x", item));
  for (const [index, items] of [["a1", "b"], ["a2", "c"], ["a3"]].entries()) {
    expect((await run(index)).items).toEqual(items);
    (await run(index)).end();
  }
  expect(await Promise.all(all)).toEqual(["a1 done", "a2 done", "b done", "c done", "a3 done"]);
});

test("a fault of one is not its neighbours'", async () => {
  const { calls, run } = setup();
  const [good, bad, other] = ["good", "poison", "other"].map((item) => calls.call("x", item));
  await expect(bad).rejects.toThrow("poisoned");
  for (const index of [0, 1]) (await run(index)).end();
  expect([await good, await other]).toEqual(["good done", "other done"]);
});
