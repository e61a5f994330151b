import { expect, test } from "vitest";
import { codeOf, collect, expectEnd, LONG, requestOf, SHORT, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

/** Its records, once there are so many. */
async function recordsOf(output: () => string, count: number): Promise<Record<string, unknown>[]> {
  for (;;) {
    const lines = output().split("\n").slice(0, -1);
    if (lines.length >= count) return lines.map((line) => JSON.parse(line));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a worker logs each attempt under its lease, and nothing of what was asked for", async () => {
  const worker = await workers.start(["--log-level", "info", "--slots", "2"]);
  const done = requestOf({ ...SHORT, prompt: "a secret wish" });
  expectEnd(await collect(worker.generate(done)), "done");
  const givenUp = requestOf(LONG);
  const call = new AbortController();
  for await (const { event } of worker.generate(givenUp, call.signal)) {
    if (event?.$case === "started") break;
  }
  const refused = requestOf({ ...SHORT, prompt: "another secret wish", steps: 0 });
  expect(codeOf(await collect(worker.generate(refused)))).toBe("INVALID_ARGUMENT");

  const records = await recordsOf(worker.errorOutput, 6);
  const of = (leaseId: string) =>
    records.filter((record) => record["leaseId"] === leaseId).map(({ msg, outcome }) => ({ msg, outcome }));
  expect(of(done.leaseId)).toEqual([{ msg: "attempt started" }, { msg: "attempt ended", outcome: "done" }]);
  expect(of(givenUp.leaseId)).toEqual([{ msg: "attempt started" }, { msg: "attempt ended", outcome: "cancelled" }]);
  expect(of(refused.leaseId)).toEqual([{ msg: "attempt ended", outcome: "invalid_argument" }]);
  expect(worker.errorOutput()).not.toMatch(/secret|wish/);
});
