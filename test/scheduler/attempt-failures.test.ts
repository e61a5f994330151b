import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Status } from "nice-grpc";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Stage } from "../../proto/gen/inference/v1/inference.ts";
import { MAX_ATTEMPTS, MAX_EXCUSED, MAX_FREE } from "../../src/generation/failure-rules.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { type Clock, systemClock } from "../../src/platform/clock.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { StorageSweep } from "../../src/scheduler/storage-sweep.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { type FakeCall, FakeWorker } from "../support/fake-worker.ts";
import { CANCEL } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { skipPauses } from "../support/pauses.ts";
import { ShiftedClock } from "../support/shifted-clock.ts";
import { slowTest } from "../support/slow-test.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const PICTURE = await sharp({ create: { width: 96, height: 96, channels: 3, background: "red" } })
  .png()
  .toBuffer();
const SIZE = { width: 96, height: 96 };

describe("an attempt", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let pauseAgain: () => Promise<void>;
  const clock = new ShiftedClock();

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker, clock });
    pauseAgain = await skipPauses(app.db);
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  const outcomes = async (id: string): Promise<string[]> =>
    (await app.member.generation(id)).attempts.map(({ outcome }: { outcome: string }) => outcome);
  const untilStep = async (id: string, step: number): Promise<void> => {
    for await (const event of app.member.events(id)) if (event.step === step) return;
  };
  const checkpoints = (): Promise<{ steps: number | null; bytes: number | null }[]> =>
    app.db.transaction(
      asPlatform,
      (tx) =>
        tx.$queryRaw`select checkpoint_steps as steps, octet_length(checkpoint) as bytes from attempt order by started_at`,
    );

  test("that is lost does not count against its generation as long as each one gets further", async () => {
    const id = await app.member.create({ prompt: "unlucky" });
    for (const step of [3, 6, 9, 12])
      (await worker.nextCall())
        .started(step - 3)
        .checkpoint(step)
        .fail(Status.UNAVAILABLE);
    await (await worker.nextCall()).started(12).succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await outcomes(id)).toEqual(["FAILED", "FAILED", "FAILED", "FAILED", "SUCCEEDED"]);
  });

  slowTest("that is lost again and again is given up in the end, although each one gets further", async () => {
    const id = await app.member.create({ prompt: "kills every worker" });
    for (let step = 1; step <= MAX_EXCUSED + MAX_ATTEMPTS; step++)
      (await worker.nextCall())
        .started(step - 1)
        .checkpoint(step)
        .fail(Status.UNAVAILABLE);
    expect((await app.member.finished(id)).state).toBe("DEAD_LETTERED");
  });

  test("that is lost three times without getting further is given up", async () => {
    const id = await app.member.create({ prompt: "kills its worker" });
    for (let i = 0; i < 3; i++) (await worker.nextCall()).started().step(2).fail(Status.UNAVAILABLE);
    expect(await app.member.finished(id)).toMatchObject({ state: "DEAD_LETTERED", failure: { code: "WORKER_LOST" } });
    const { attempts, seq } = await app.member.generation(id);
    expect(attempts.map(({ failureClass }: any) => failureClass)).toEqual(Array(3).fill("WORKER_LOST"));
    expect(seq).toBe(8); // Queued, three times Started and AttemptFailed, Finished
  });

  test("whose worker is lost before it starts is tried often, not for ever", async () => {
    const id = await app.member.create({ prompt: "kills its worker at once" });
    const call = await worker.nextCall();
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        with earlier as (
          insert into attempt (generation_id, tenant_id, number, lease_id, worker, ended_at, outcome, failure_class)
          select id, tenant_id, -n, gen_random_uuid(), 'earlier', now(), 'RETURNED', 'NOT_TAKEN'
          from generation, generate_series(1, ${MAX_FREE}::int) as n where state = 'RUNNING'
        )
        update generation set failed_attempts = ${MAX_ATTEMPTS - 1}::int where state = 'RUNNING'`,
    );
    call.fail(Status.UNAVAILABLE);
    expect(await app.member.finished(id)).toMatchObject({ state: "DEAD_LETTERED", failure: { code: "NOT_TAKEN" } });
  });

  test("leaves one checkpoint, and none once its generation has ended", async () => {
    const id = await app.member.create({ prompt: "saved" });
    (await worker.nextCall()).started().checkpoint(2).yielded();
    const call = (await worker.nextCall()).started(2).checkpoint(5).step(6);
    await untilStep(id, 6);
    expect((await checkpoints()).slice(-2)).toEqual([
      { steps: 2, bytes: null },
      { steps: 5, bytes: "state after 5".length },
    ]);
    await call.succeed();
    await app.member.finished(id);
    expect((await checkpoints()).filter(({ bytes }) => bytes !== null)).toEqual([]);
  });

  test("whose cancellation meets its yield ends the generation, and no other one follows", async () => {
    const id = await app.member.create({ prompt: "too late" });
    const call = (await worker.nextCall()).started().checkpoint(3).step(3);
    await untilStep(id, 3);
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update generation set cancel_requested_at = now() where state = 'RUNNING'`,
    );
    call.yielded();
    const { state, generation } = await app.member.finished(id);
    expect(state).toBe("CANCELED");
    expect(generation.creditsCharged).toBe("0.027648"); // 3 of 18 steps
    expect(await outcomes(id)).toEqual(["CANCELED"]);
  });

  test("that is cancelled before it goes on from a checkpoint is charged for the steps done", async () => {
    const id = await app.member.create({ prompt: "resumed" });
    (await worker.nextCall()).started().checkpoint(9).yielded();
    const second = await worker.nextCall();
    await app.member.query(CANCEL, { id });
    await second.hungUp;
    expect((await app.member.finished(id)).generation.creditsCharged).toBe("0.082944"); // 9 of 18 steps
  });

  test("whose pictures cannot be stored is not the generation's failure, and is repeated when they can", async () => {
    const images = join(app.dataDir, "images");
    if (existsSync(images)) renameSync(images, `${images}.away`);
    writeFileSync(images, "");
    const id = await app.member.create({ prompt: "disk full" });
    await (await worker.nextCall()).started().checkpoint(17).succeed();
    const second = await worker.nextCall();
    expect(second.request.resumeFrom?.stepsDone).toBe(17);
    rmSync(images);
    if (existsSync(`${images}.away`)) renameSync(`${images}.away`, images);
    await second.started(17).succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await outcomes(id)).toEqual(["RETURNED", "SUCCEEDED"]);
  });

  test.each<[string, (call: FakeCall) => unknown]>([
    ["an event before it has started", (call) => call.step(1)],
    ["a step beyond the last", (call) => call.started().step(19)],
    ["a checkpoint beyond the last step", (call) => call.started().checkpoint(19)],
    [
      "a checkpoint that is too large",
      (call) =>
        call.started().send({ $case: "checkpoint", value: { stepsDone: 1, state: Buffer.alloc(1024 * 1024 + 1) } }),
    ],
    [
      "a preview that is too large",
      (call) => {
        const previews = [{ index: 0, width: 8, height: 8, webp: Buffer.alloc(24 * 1024 + 1) }];
        const frame = { stage: Stage.DRAWING, stepsDone: 1, totalSteps: 18, previews };
        return call.started().send({ $case: "frame", value: frame });
      },
    ],
    [
      "the same picture twice",
      (call) => {
        const value = { index: 0, size: SIZE, mimeType: "image/png", data: PICTURE };
        return call.started().send({ $case: "image", value }).send({ $case: "image", value });
      },
    ],
    [
      "a picture that is none",
      (call) => {
        const value = { index: 0, size: SIZE, mimeType: "image/png", data: Buffer.from("not a picture") };
        return call.started().send({ $case: "image", value });
      },
    ],
    [
      "an end without its pictures",
      (call) => call.started().send({ $case: "done", value: { computeMs: 1n, promptsRead: 0, promptsKnown: 0 } }),
    ],
  ])("in which the worker sends %s fails, and stores nothing of it", async (_, misbehave) => {
    const id = await app.member.create({ prompt: "misbehaving worker" });
    const call = await worker.nextCall();
    misbehave(call);
    await call.hungUp;
    await expect.poll(async () => (await outcomes(id))[0]).toMatch(/FAILED|RETURNED/);
    expect((await checkpoints()).filter(({ bytes }) => bytes !== null)).toEqual([]);
    clock.advance(10_000); // a worker that fails before it starts is left alone for a while
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("for which the worker has no slot is repeated ever more rarely, and such a worker is replaced in the end", async () => {
    await pauseAgain();
    onTestFinished(async () => {
      pauseAgain = await skipPauses(app.db);
    });
    worker.refusesAll = true;
    const id = await app.member.create({ prompt: "refused" });
    await expect.poll(async () => (await outcomes(id)).length).toBeGreaterThan(1);
    expect(worker.stuck).toEqual([]);
    clock.advance(120_000);
    await expect.poll(() => worker.stuck).toEqual(["fake"]);
    worker.refusesAll = false;
    clock.advance(10_000);
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("of a preset that no worker serves any more does not keep the others waiting", async () => {
    const blocker = await app.member.create({ prompt: "blocker" });
    const call = await worker.nextCall();
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        insert into generation (id, tenant_id, user_id, pool, preset, priority, task, settings, total_steps, milestone_seq)
        select gen_random_uuid(), tenant_id, user_id, pool, 'retired', priority, task, settings, total_steps, 1
        from generation, generate_series(1, 35) where state = 'RUNNING'`,
    );
    const id = await app.member.create({ prompt: "served" });
    await call.started().succeed();
    await app.member.finished(blocker);
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update generation set pool = 'none' where state = 'QUEUED'`,
    );
  });

  test("that was cancelled leaves pictures which the sweep deletes an hour later; those of a success stay", async () => {
    const kept = await app.member.create({ prompt: "kept" });
    await (await worker.nextCall()).started().succeed();
    await app.member.finished(kept);
    const id = await app.member.create({ prompt: "cancelled", count: 2 });
    const call = (await worker.nextCall()).started();
    call.send({ $case: "image", value: { index: 0, size: SIZE, mimeType: "image/png", data: PICTURE } }).step(18);
    await untilStep(id, 18);
    await app.member.query(CANCEL, { id });
    await app.member.finished(id);
    const folder = join(app.dataDir, "images");
    const tomorrow: Clock = { ...systemClock, now: () => new Date(Date.now() + 24 * 3600_000) };
    const signer = new UrlSigner({ id: "test", secret: "secret" });
    const links = new SignedLinks({ signer, clock: tomorrow, publicUrl: () => "", logger: createLogger("silent") });
    const images = new DiskImageStore({ folder, links, logger: createLogger("silent") });
    const left = async (): Promise<string[]> => {
      const folders: string[] = [];
      for await (const attempt of images.listFolders(tomorrow.now())) folders.push(attempt);
      return folders;
    };
    const stray = join(folder, (await left())[0]!.split("/")[0]!, "tmp", "x");
    mkdirSync(stray, { recursive: true });
    await new StorageSweep({ db: app.db, images, clock: tomorrow }).runOnce();
    const { leaseId } = await app.db.transaction(asPlatform, (tx) =>
      tx.generation.findFirstOrThrow({ where: { state: "SUCCEEDED" }, orderBy: { id: "desc" } }),
    );
    const after = await left();
    expect(after.some((name) => name.endsWith(`/${leaseId}`))).toBe(true);
    expect(after.filter((name) => name.includes(call.request.leaseId))).toEqual([]);
    expect(existsSync(stray)).toBe(true);
  });
});
