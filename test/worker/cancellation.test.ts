import { expect, test } from "vitest";
import {
  type Attempt,
  atStep,
  codeOf,
  collect,
  expectEnd,
  LONG,
  requestOf,
  SHORT,
  useTinyWorkers,
} from "./attempts.ts";

const workers = useTinyWorkers();

async function setup(flags: readonly string[] = []) {
  const worker = await workers.shared(flags);
  return {
    worker,
    /** Tries until a slot is free. */
    async generateWhenFree(): Promise<Attempt> {
      for (;;) {
        const attempt = await collect(worker.generate(requestOf(SHORT)));
        if (codeOf(attempt) !== "RESOURCE_EXHAUSTED") return attempt;
      }
    },
  };
}

test("a second attempt is refused while the only slot is taken, and accepted afterwards", async () => {
  const { worker } = await setup();
  let second: Attempt | undefined;
  const tryAnother = async () => {
    second = await collect(worker.generate(requestOf(SHORT)));
  };
  const first = await collect(worker.generate(requestOf({ ...SHORT, count: 2 })), atStep(0, tryAnother));
  expectEnd(first, "done");
  expect(codeOf(second!)).toBe("RESOURCE_EXHAUSTED");
  expect(second!.events).toEqual([]);
  expectEnd(await collect(worker.generate(requestOf(SHORT))), "done");
});

test("hanging up cancels the attempt and frees its slot", async () => {
  const { worker, generateWhenFree } = await setup();
  const controller = new AbortController();
  const attempt = await collect(
    worker.generate(requestOf(LONG), controller.signal),
    atStep(2, () => controller.abort()),
  );
  expect(attempt.error).toHaveProperty("name", "AbortError");
  expectEnd(await generateWhenFree(), "done");
});

test("leaving the stream cancels the attempt too", async () => {
  const { worker, generateWhenFree } = await setup();
  for await (const { event } of worker.generate(requestOf(LONG))) if (event?.$case === "frame") break;
  expectEnd(await generateWhenFree(), "done");
});

test("a slot is free long before the cancelled attempt would have ended", async () => {
  const { worker, generateWhenFree } = await setup(["--slots", "2"]);
  const controller = new AbortController();
  let stepsOfOther = 0;
  const other = collect(worker.generate(requestOf(LONG)), (event) => {
    if (event.$case === "frame") stepsOfOther = event.value.stepsDone;
  });
  await collect(
    worker.generate(requestOf(LONG), controller.signal),
    atStep(2, () => controller.abort()),
  );
  expectEnd(await generateWhenFree(), "done");
  expect(stepsOfOther).toBeLessThan(LONG.steps);
  expectEnd(await other, "done");
});

test("hanging up before anything was drawn frees the slot", async () => {
  const { worker, generateWhenFree } = await setup();
  const controller = new AbortController();
  await collect(worker.generate(requestOf(LONG), controller.signal), () => controller.abort());
  expectEnd(await generateWhenFree(), "done");
});
