import { describe, expect, test } from "vitest";
import { type Checkpoint, type GenerateRequest, Speed } from "../../proto/gen/inference/v1/inference.ts";
import { atStep, codeOf, collect, expectEnd, requestOf, SHORT, type TextTask, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

/** One worker for all tests: it has to go on serving after every refusal. */
async function setup() {
  const worker = await workers.shared();
  return {
    /** Expects INVALID_ARGUMENT with this message, before anything was started, and that the worker serves on. */
    async expectRefusal(request: GenerateRequest, message: string | RegExp): Promise<void> {
      const attempt = await collect(worker.generate(request));
      expect(codeOf(attempt)).toBe("INVALID_ARGUMENT");
      expect(attempt.error!.details).toMatch(message);
      expect(attempt.events).toEqual([]);
      expectEnd(await collect(worker.generate(requestOf({ ...SHORT, steps: 1 }))), "done");
    },
    /** A checkpoint of a drawing of these settings, after its first step or so. */
    async checkpointOf(task: TextTask): Promise<Checkpoint> {
      const request = requestOf(task);
      const attempt = await collect(
        worker.generate(request),
        atStep(0, () => worker.yield(request.leaseId)),
      );
      return attempt.of("checkpoint")[0]!;
    },
  };
}

describe("a worker refuses", () => {
  test("another preset, with the one that it serves", async () => {
    const { expectRefusal } = await setup();
    await expectRefusal(
      { ...requestOf(SHORT), preset: "unipic-1.5b" },
      'This worker serves the preset "tiny", not "unipic-1.5b".',
    );
  });

  test("a request without a task or a lease", async () => {
    const { expectRefusal } = await setup();
    await expectRefusal({ ...requestOf(SHORT), task: undefined }, "The request names no task that this worker knows.");
    await expectRefusal({ ...requestOf(SHORT), leaseId: "" }, "lease_id is empty.");
  });

  test.each<[string, Partial<TextTask>, string | RegExp]>([
    ["no size", { size: undefined }, "size is missing."],
    ["a size between two patches", { size: { width: 100, height: 96 } }, /100 x 96 .* multiples of 16/],
    ["a size that it does not offer", { size: { width: 112, height: 96 } }, /112 x 96 .* at most 9216 pixels/],
    ["a size without pixels", { size: { width: 0, height: 96 } }, /0 x 96 .* multiples of 16/],
    ["more steps than a small picture has patches", { size: { width: 32, height: 16 }, steps: 3 }, /use 1 to 2/],
    ["a huge size", { size: { width: 65536, height: 65536 } }, /65536 x 65536 .* at most 9216 pixels/],
    ["no picture", { count: 0 }, "count is 0; 1 to 4 are possible."],
    ["too many pictures", { count: 5 }, "count is 5; 1 to 4 are possible."],
    ["no step", { steps: 0 }, "0 steps cannot be taken for this size: use 1 to 36."],
    ["more steps than image tokens", { steps: 37 }, "37 steps cannot be taken for this size: use 1 to 36."],
    ["a guidance scale that is no number", { guidanceScale: Number.NaN }, /guidanceScale .*finite/],
    ["an infinite temperature", { temperature: Number.POSITIVE_INFINITY }, /temperature .*finite/],
    [
      "a speed of a newer version",
      { speed: Speed.FASTER + 1 },
      "speed 4 is not known; possible are exact, fast, faster.",
    ],
    [
      "a prompt longer than the model reads",
      { prompt: "1".repeat(1000) },
      /The prompt has 1\d\d\d tokens; .* 980\. Shorten it\./,
    ],
  ])("%s, with what is possible", async (_, change, message) => {
    const { expectRefusal } = await setup();
    await expectRefusal(requestOf({ ...SHORT, ...change }), message);
  });

  test("a checkpoint of a request of another shape, with what to do", async () => {
    const { expectRefusal, checkpointOf } = await setup();
    const task = { ...SHORT, steps: 36 };
    const ofThree = await checkpointOf({ ...task, count: 3 });
    await expectRefusal(
      requestOf(task, { resumeFrom: ofThree }),
      "The checkpoint does not fit this request: it holds 3 x 36 x 16 values. Start again without it.",
    );
    await expectRefusal(
      requestOf({ ...task, count: 3, steps: 6 }, { resumeFrom: ofThree }),
      "does not fit this request",
    );
    const damaged = { ...ofThree, state: ofThree.state.subarray(0, -1) };
    await expectRefusal(requestOf({ ...task, count: 3 }, { resumeFrom: damaged }), "does not fit this request");
    const foreign = { stepsDone: 1, state: Buffer.from("something else") };
    await expectRefusal(requestOf(task, { resumeFrom: foreign }), "it is not a checkpoint. Start again without it.");
  });
});
