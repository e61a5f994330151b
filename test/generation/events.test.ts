import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Principal } from "../../src/auth/principal.ts";
import { claimAll } from "../../src/generation/claim.store.ts";
import { GenerationService } from "../../src/generation/generation.service.ts";
import { type AnyGenerationEvent, GenerationEvents } from "../../src/generation/generation-events.ts";
import { GenerationLifecycle } from "../../src/generation/generation-lifecycle.ts";
import { MilestonePoll } from "../../src/generation/milestone-poll.ts";
import { Moderation } from "../../src/moderation/moderation.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { systemClock } from "../../src/platform/clock.ts";
import type { Database } from "../../src/platform/database.ts";
import { fromGlobalId, newId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import type { PreviewFrame, ProgressFrame } from "../../src/progress/frame.ts";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { credits } from "../../src/quota/tariff.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { principalFor } from "../support/principals.ts";
import { createTestDatabase } from "../support/test-database.ts";
import { TINY_OFFER } from "../support/tiny-offer.ts";

const none = { imageEdit: undefined, imageVariation: undefined, imageToText: undefined };
const TINY = { ...none, name: "tiny", textToImage: TINY_OFFER.textToImage, pool: "local", priceFactor: 1 };

/** Says nothing of milestones, as if every announcement were lost. */
class ForgetfulBus extends InProcessFrameBus {
  override publish(message: Parameters<InProcessFrameBus["publish"]>[0]): void {
    if (message.kind !== "milestone") super.publish(message);
  }
}

const FAILED = { failureClass: "INTERNAL", message: "no luck", hasAdvanced: false, hadCompany: false } as const;

describe("the events of a generation", () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let db: Database;
  let principal: Principal;
  let bundle: ReturnType<typeof setup>;

  function setup(bus: InProcessFrameBus) {
    const quota = new QuotaService();
    const lifecycle = new GenerationLifecycle(db, quota, bus);
    const list = async () => [TINY];
    const moderation = new Moderation({ db, clock: systemClock, checker: undefined });
    const generations = new GenerationService({
      db,
      lifecycle,
      presets: { list, listRecent: list },
      moderation,
      outlooks: { outlook: async () => undefined },
      logger: createLogger("silent"),
    });
    const poll = new MilestonePoll(db, createLogger("silent"));
    const events = new GenerationEvents({
      db,
      bus,
      poll,
      generations,
      metrics: new Metrics({ role: "api", pool: "local" }),
    });
    const create = async (): Promise<string> => {
      const input = {
        idempotencyKey: newId(),
        priority: "STANDARD",
        task: { textToImage: { prompt: "x", count: 1, guidanceSchedule: "CONSTANT", speed: "EXACT" } },
      } as const;
      return (await generations.create(principal, input)).generation.id;
    };
    const start = async (id: string) => {
      const fence = { generationId: fromGlobalId("Generation", id), leaseId: newId() };
      const claim = { ...fence, worker: "test", predictedMs: 1000, share: 1 };
      const claimant = { holder: newId(), leaseSeconds: 10 };
      const row = (await claimAll(db.singly(asPlatform), claimant, [claim]))?.[0];
      if (typeof row !== "object") throw new Error("it did not start");
      lifecycle.announce({ ...row, state: "RUNNING" });
      return { fence, seq: row.milestoneSeq, attempt: row.attempt };
    };
    const complete = (fence: { generationId: string; leaseId: string }) =>
      lifecycle.complete(fence, { images: [], recipe: {}, stepsDone: 18, verdicts: [] });
    return { bus, poll, events, lifecycle, create, start, complete };
  }

  beforeAll(async () => {
    database = await createTestDatabase();
    db = database.db;
    principal = await db.transaction(asPlatform, async (tx) => {
      const tenantId = await insertTenant(tx, "test");
      await new QuotaService().grant(tx, tenantId, { credits: credits(1000), reason: "test" });
      const userId = await insertMember(tx, { tenantId, role: "MEMBER", name: "test", isPlatformAdmin: false });
      return principalFor({ tenantId, userId });
    });
    bundle = setup(new InProcessFrameBus(new FakeClock()));
  });
  afterAll(() => database.close());

  const skipPause = (id: string): Promise<unknown> =>
    db.transaction(
      asPlatform,
      (tx) =>
        tx.$executeRaw`update generation set not_before = null where id = ${fromGlobalId("Generation", id)}::uuid`,
    );
  const progress = (
    id: string,
    { seq, attempt, frame }: { seq: number; attempt: number; frame: number },
  ): ProgressFrame => ({
    kind: "progress",
    generationId: fromGlobalId("Generation", id),
    seq,
    attempt,
    frame,
    at: 0,
    stage: "DRAWING",
    stepsDone: frame,
    totalSteps: 18,
    etaMs: 100,
  });
  const preview = (id: string, at: { seq: number; attempt: number; frame: number }): PreviewFrame => ({
    kind: "preview",
    generationId: fromGlobalId("Generation", id),
    ...at,
    at: 0,
    index: 0,
    width: 8,
    height: 8,
    webp: Uint8Array.of(0),
  });
  const names = (events: readonly AnyGenerationEvent[]): string[] =>
    events.map(({ __typename, seq }) => `${__typename} ${seq}`);
  const readAll = async (events: AsyncIterable<AnyGenerationEvent>): Promise<AnyGenerationEvent[]> => {
    const all = [];
    for await (const event of events) all.push(event);
    return all;
  };

  test("are all milestones, gap-free from 1, and end with Finished", async () => {
    const { create, start, complete, events, lifecycle } = bundle;
    const id = await create();
    const first = await start(id);
    await lifecycle.retry(first.fence, { ...FAILED, stepsDone: 1 });
    await skipPause(id);
    const second = await start(id);
    await lifecycle.giveBack(second.fence, { outcome: "YIELDED", message: "yielded", stepsDone: 2 });
    await complete((await start(id)).fence);
    const all = await readAll(await events.subscribe(principal, { id, afterSeq: 0 }));
    expect(names(all)).toEqual([
      "QueuedEvent 1",
      "StartedEvent 2",
      "AttemptFailedEvent 3",
      "StartedEvent 4",
      "QueuedEvent 5",
      "StartedEvent 6",
      "FinishedEvent 7",
    ]);
  });

  test("arrive live, each milestone once and in order, frames in between", async () => {
    const { create, start, complete, events, bus } = bundle;
    const id = await create();
    const stream = await events.subscribe(principal, { id, afterSeq: 0 });
    expect((await stream.next()).value).toMatchObject({ __typename: "QueuedEvent", seq: 1 });
    const started = await start(id);
    expect((await stream.next()).value).toMatchObject({ __typename: "StartedEvent", seq: 2 });
    bus.publish(progress(id, { ...started, frame: 1 }));
    expect((await stream.next()).value).toMatchObject({ __typename: "ProgressEvent", seq: 2, step: 1 });
    await complete(started.fence);
    expect((await stream.next()).value).toMatchObject({ __typename: "FinishedEvent", seq: 3, state: "SUCCEEDED" });
    expect((await stream.next()).done).toBe(true);
  });

  test("are the failure of each attempt, also of the last one, before the end", async () => {
    const { create, start, events, lifecycle } = bundle;
    const id = await create();
    for (let attempt = 1; attempt <= 3; attempt++) {
      await lifecycle.retry((await start(id)).fence, { ...FAILED, stepsDone: attempt });
      await skipPause(id);
    }
    const all = await readAll(await events.subscribe(principal, { id, afterSeq: 0 }));
    expect(names(all)).toEqual([
      "QueuedEvent 1",
      "StartedEvent 2",
      "AttemptFailedEvent 3",
      "StartedEvent 4",
      "AttemptFailedEvent 5",
      "StartedEvent 6",
      "AttemptFailedEvent 7",
      "FinishedEvent 8",
    ]);
    const failure = { code: "INTERNAL", message: "no luck" };
    expect(all[2]).toMatchObject({ attempt: 1, failure, willRetry: true });
    expect(all[6]).toMatchObject({ attempt: 3, failure, willRetry: false });
    expect(all.at(-1)).toMatchObject({ attempt: 3, state: "DEAD_LETTERED", failure });
    const [last] = await readAll(await events.subscribe(principal, { id, afterSeq: 7 }));
    expect(last).toMatchObject({ __typename: "FinishedEvent", seq: 8 });
  });

  test("resume behind any event: the seq of a frame, of a milestone, or 0", async () => {
    const { create, start, complete, events, bus } = bundle;
    const id = await create();
    const started = await start(id);
    bus.publish(progress(id, { ...started, frame: 3 }));
    const seqOfFrame = 2;
    const fromFrame = await events.subscribe(principal, { id, afterSeq: seqOfFrame });
    expect((await fromFrame.next()).value).toMatchObject({ __typename: "ProgressEvent", frame: 3 });
    const fromMilestone = await events.subscribe(principal, { id, afterSeq: 1 });
    expect((await fromMilestone.next()).value).toMatchObject({ __typename: "StartedEvent", seq: 2 });
    await complete(started.fence);
    expect(names(await readAll(fromFrame))).toEqual(["FinishedEvent 3"]);
    expect(names(await readAll(fromMilestone)).at(-1)).toBe("FinishedEvent 3");
    const fromStart = await readAll(await events.subscribe(principal, { id, afterSeq: 0 }));
    expect(names(fromStart)).toEqual(["QueuedEvent 1", "StartedEvent 2", "FinishedEvent 3"]);
  });

  test("deliver the end once more to those who had everything", async () => {
    const { create, start, complete, events } = bundle;
    const id = await create();
    await complete((await start(id)).fence);
    expect(names(await readAll(await events.subscribe(principal, { id, afterSeq: 3 })))).toEqual(["FinishedEvent 3"]);
  });

  test("start only from a milestone that exists", async () => {
    const { create, events } = bundle;
    const id = await create();
    await expect(events.subscribe(principal, { id, afterSeq: 2 })).rejects.toThrow(
      "this generation has milestones 1 to 1",
    );
    await expect(events.subscribe(principal, { id, afterSeq: -1 })).rejects.toThrow(
      "Use the seq of an event you received",
    );
  });

  test("find milestones whose announcement was lost", async () => {
    const forgetful = setup(new ForgetfulBus(new FakeClock()));
    forgetful.poll.start();
    const id = await forgetful.create();
    const all = readAll(await forgetful.events.subscribe(principal, { id, afterSeq: 0 }));
    await forgetful.complete((await forgetful.start(id)).fence);
    expect(names(await all)).toEqual(["QueuedEvent 1", "StartedEvent 2", "FinishedEvent 3"]);
    await forgetful.poll.stop();
  });

  test("give a slow subscriber the newest frame of each kind, and never an older one after a newer one", async () => {
    const { create, start, events, bus } = bundle;
    const id = await create();
    const started = await start(id);
    const stream = await events.subscribe(principal, { id, afterSeq: 2 });
    const first = stream.next();
    bus.publish(progress(id, { ...started, frame: 1 }));
    expect((await first).value).toMatchObject({ frame: 1 });
    for (let frame = 2; frame <= 500; frame++) bus.publish(progress(id, { ...started, frame }));
    bus.publish(progress(id, { ...started, frame: 7 })); // late
    expect((await stream.next()).value).toMatchObject({ frame: 500 });
    const next = stream.next();
    bus.publish(progress(id, { ...started, frame: 499 }));
    bus.publish(progress(id, { ...started, frame: 501 }));
    expect((await next).value).toMatchObject({ frame: 501 });
    await stream.return?.();
  });

  test("drop frames of an attempt that has ended", async () => {
    const { create, start, complete, events, bus, lifecycle } = bundle;
    const id = await create();
    const first = await start(id);
    const stream = await events.subscribe(principal, { id, afterSeq: 0 });
    bus.publish(preview(id, { ...first, frame: 9 }));
    await lifecycle.retry(first.fence, { ...FAILED, stepsDone: 9 });
    await skipPause(id);
    const second = await start(id);
    bus.publish(progress(id, { ...second, frame: 1 }));
    const seen: AnyGenerationEvent[] = [];
    for await (const event of stream) {
      seen.push(event);
      if (event.__typename === "ProgressEvent") await complete(second.fence);
    }
    expect(names(seen)).toEqual([
      "QueuedEvent 1",
      "StartedEvent 2",
      "AttemptFailedEvent 3",
      "StartedEvent 4",
      "ProgressEvent 4",
      "FinishedEvent 5",
    ]);
  });

  test("stop at once when the subscriber leaves while nothing happens", async () => {
    const { create, events } = bundle;
    const id = await create();
    const stream = await events.subscribe(principal, { id, afterSeq: 0 });
    await stream.next();
    const waiting = stream.next();
    await stream.return?.();
    expect((await waiting).done).toBe(true);
  });

  test("of another tenant's generation are as absent as those of none", async () => {
    const { create, events } = bundle;
    const id = await create();
    const stranger = { ...principal, tenantId: newId() };
    await expect(events.subscribe(stranger, { id, afterSeq: 0 })).rejects.toThrow("There is no generation");
  });
});
