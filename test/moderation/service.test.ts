import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { CANCEL_BATCH, createBatch, finishedBatch, readBatch, readItems } from "../support/batches.ts";
import { allow, block, CheckerService, fail, hang } from "../support/checker-service.ts";
import { readVerdicts, setChecks, words } from "../support/checks.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, CREATE, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { skipPauses } from "../support/pauses.ts";
import { ShiftedClock } from "../support/shifted-clock.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const SETTINGS = { MODERATION_SECRET: "a secret of the two of us", MODERATION_TIMEOUT_SECONDS: "3" };
const guard = (input: object = {}) => ({ name: "guard", kind: "HTTP", ...input });

const service = new CheckerService();
const clock = new ShiftedClock();
const worker = new FakeWorker(1);
let app: TestApp;

beforeAll(async () => {
  app = await createTestApp({ workers: worker, clock }, { ...SETTINGS, MODERATION_URL: await service.start() });
  await skipPauses(app.db);
});
beforeEach(() => {
  service.answer = allow;
  service.questions.length = 0;
  service.mostOpen = 0;
  clock.advance(6000); // a service that failed before is asked again
});
afterEach(async () => {
  await setChecks(app.owner, []);
  await expectBalancedLedger(app.db);
});
afterAll(async () => {
  await app.stop();
  await service.stop();
});

const create = async (prompt: string) =>
  (await app.member.query(CREATE, { input: newInput({ prompt, unconditionalPrompt: "haste" }) })).createGeneration;
const generations = () => app.db.transaction(asPlatform, (tx) => tx.generation.count());
const filesOf = (id: string): readonly string[] => {
  const images = join(app.dataDir, "images");
  const [tenant = ""] = existsSync(images) ? readdirSync(images) : [];
  const folder = join(images, tenant, fromGlobalId("Generation", id));
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }) : [];
};
const draw = async (id: string) => {
  await (await worker.nextCall()).started().succeed();
  return app.member.finished(id);
};

describe("a service that is asked about prompts", () => {
  test("gets all texts at once, for the generation that will be, after the lists before it", async () => {
    await setChecks(app.owner, [words("birds", "heron"), guard({ stages: ["PROMPT"] })]);
    const { generation } = await create("a pond");
    const { viewer } = await app.member.query("{ viewer { tenant { id } } }");
    expect(service.questions.map(({ body }) => body)).toEqual([
      {
        stage: "PROMPT",
        tenantId: viewer.tenant.id,
        generationId: generation.id,
        texts: [
          { field: "prompt", text: "a pond" },
          { field: "unconditionalPrompt", text: "haste" },
        ],
      },
    ]);
    expect(await readVerdicts(app.member, generation.id)).toMatchObject([
      { check: "birds", decision: "ALLOWED" },
      { check: "guard", decision: "ALLOWED" },
    ]);
    await draw(generation.id);
    const before = await generations();
    service.answer = block;
    expect((await create("a pond")).userErrors).toMatchObject([
      { __typename: "ModerationError", code: "CONTENT_BLOCKED", path: ["input", "task"] },
    ]);
    await create("a heron");
    expect(service.questions, "the word list came first").toHaveLength(2);
    expect(await generations()).toBe(before);
  });

  test("and cannot be reached: nothing is created, or it passes unjudged, as its check says", async () => {
    service.answer = hang;
    await setChecks(app.owner, [guard({ stages: ["PROMPT"] })]);
    const before = await generations();
    const refused = await create("a pond");
    expect(refused.userErrors).toMatchObject([{ code: "UNAVAILABLE", retryable: true }]);
    expect(await generations()).toBe(before);
    service.answer = fail(500);
    await setChecks(app.owner, [guard({ stages: ["PROMPT"], whenUnavailable: "ALLOW" })]);
    const { generation } = await create("a pond");
    expect(await readVerdicts(app.member, generation.id)).toMatchObject([{ check: "guard", decision: "UNAVAILABLE" }]);
    await draw(generation.id);
  });

  test("is asked about items of a batch when their turn comes, and not about all at once", async () => {
    await setChecks(app.owner, [guard({ stages: ["PROMPT"] })]);
    const prompts = Array.from({ length: 70 }, (_, i) => `picture ${i}`);
    const id = await createBatch(app.member, prompts);
    await expect.poll(async () => (await readBatch(app.member, id)).counts.waiting).toBe(6);
    expect(service.questions.map(({ body }) => body.texts[0].text).sort()).toEqual(prompts.slice(0, 64).sort());
    expect(service.mostOpen).toBeLessThanOrEqual(8);
    const call = await worker.nextCall();
    await app.member.query(CANCEL_BATCH, { id });
    await call.hungUp;
    await finishedBatch(app.member, id);
  });

  test("and refuses most items of a batch: the others are drawn, and none is asked about twice", async () => {
    await setChecks(app.owner, [guard({ stages: ["PROMPT"] })]);
    service.answer = ({ body }) => ({ verdict: body.texts[0].text.endsWith("7") ? "ALLOW" : "BLOCK" });
    const prompts = Array.from({ length: 100 }, (_, i) => `picture ${i}`);
    const id = await createBatch(app.member, prompts);
    for (let i = 0; i < 10; i++) await (await worker.nextCall()).started().succeed();
    expect(await finishedBatch(app.member, id)).toMatchObject({ counts: { succeeded: 10, failed: 90 } });
    expect(service.questions.map(({ body }) => body.texts[0].text).sort()).toEqual(prompts.sort());
  });

  test("and cannot be reached: items of a batch wait for it, other batches do not, and none is asked about twice", async () => {
    await setChecks(app.owner, [guard({ stages: ["PROMPT"] })]);
    service.answer = (question, response) =>
      question.body.texts[0].text === "second" ? fail(400)(question, response) : { verdict: "ALLOW" };
    const id = await createBatch(app.member, ["first", "second", "third"]);
    const stranger = await app.addMember("MEMBER", { credits: 10_000_000n });
    await (await worker.nextCall()).started().succeed();
    const other = await createBatch(stranger, ["theirs"]);
    const call = await worker.nextCall();
    expect(call.prompt).toBe("theirs");
    await call.started().succeed();
    await finishedBatch(stranger, other);
    expect((await readBatch(app.member, id)).counts).toMatchObject({ waiting: 2, succeeded: 1 });
    service.answer = allow;
    clock.advance(6000);
    for (let i = 0; i < 2; i++) await (await worker.nextCall()).started().succeed();
    expect(await finishedBatch(app.member, id)).toMatchObject({ counts: { succeeded: 3 } });
    expect(service.questions.filter(({ body }) => body.texts[0].text === "first")).toHaveLength(1);
  });

  test("is not asked again about items that limits keep waiting", async () => {
    await setChecks(app.owner, [guard({ stages: ["PROMPT"] })]);
    const limit = { level: "TENANT", kind: "QUEUED", reason: "a test" };
    const set = "mutation($input: SetLimitInput!) { setLimit(input: $input) { userErrors { code } } }";
    await app.owner.query(set, { input: { ...limit, max: "1" } });
    const id = await createBatch(app.member, ["a", "b", "c", "d"]);
    for (let i = 0; i < 4; i++) await (await worker.nextCall()).started().succeed();
    await finishedBatch(app.member, id);
    await app.owner.query(set, { input: limit });
    expect(service.questions).toHaveLength(4);
  });
});

describe("a service that is asked about pictures", () => {
  beforeEach(() => setChecks(app.owner, [guard({ stages: ["IMAGE"] })]));

  test("gets each with its bytes, before anybody sees it, and the worker goes on meanwhile", async () => {
    let answer: (verdict: object) => void = () => {};
    service.answer = () => new Promise((resolve) => (answer = resolve));
    const id = await app.member.create({ prompt: "judged" });
    await (await worker.nextCall()).started().succeed();
    await expect.poll(() => service.questions).toHaveLength(1);
    expect(await app.member.generation(id)).toMatchObject({ state: "RUNNING", images: [] });
    await setChecks(app.owner, []);
    const next = await app.member.create({ prompt: "next" });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(next)).state).toBe("SUCCEEDED");
    answer({ verdict: "ALLOW" });
    const { state, generation } = await app.member.finished(id);
    expect([state, generation.creditsCharged]).toEqual(["SUCCEEDED", "0.165888"]);
    const { base64, ...image } = service.questions[0]?.body.image ?? {};
    const { index, width, height, mimeType, sha256 } = (await app.member.generation(id)).images[0];
    expect(image).toEqual({ index, width, height, mimeType, sha256 });
    const file = await (await fetch(generation.images[0].url)).arrayBuffer();
    expect(base64).toBe(Buffer.from(file).toString("base64"));
    const verdict = { stage: "IMAGE", imageIndex: 0, check: "guard", decision: "ALLOWED" };
    expect(await readVerdicts(app.member, id)).toMatchObject([verdict]);
  });

  test("and refuses one of several: all are gone, and what was drawn is charged", async () => {
    service.answer = ({ body }) => ({ verdict: body.image.index === 1 ? "BLOCK" : "ALLOW", category: "wildlife" });
    const id = await app.member.create({ prompt: "two", count: 2 });
    await (await worker.nextCall()).started().succeed();
    const { state, failure } = await app.member.finished(id);
    expect([state, failure.code]).toEqual(["FAILED", "CONTENT_BLOCKED"]);
    expect(failure.message).toMatch(/"guard" refuses this picture \(wildlife\)/);
    expect(await app.member.generation(id)).toMatchObject({
      images: [],
      creditsReserved: "0.331776",
      creditsCharged: "0.331776",
      attempts: [{ outcome: "FAILED" }],
    });
    expect(filesOf(id)).toEqual([]);
    expect(await readVerdicts(app.member, id)).toMatchObject([
      { imageIndex: 0, decision: "ALLOWED", category: "wildlife" },
      { imageIndex: 1, decision: "BLOCKED", category: "wildlife" },
    ]);
  });

  test("keeps previews back, unless it only reports", async () => {
    const eventsOf = async (id: string): Promise<string[]> => {
      const seen: string[] = [];
      const watching = (async () => {
        for await (const { __typename } of app.member.events(id)) seen.push(__typename);
      })();
      const call = (await worker.nextCall()).started().step(1);
      await expect.poll(() => seen).toContain("ProgressEvent");
      await call.step(2).succeed();
      await watching;
      return seen;
    };
    expect(await eventsOf(await app.member.create({ prompt: "kept back" }))).not.toContain("PreviewEvent");
    service.answer = block;
    await setChecks(app.owner, [guard({ mode: "REPORT", stages: ["IMAGE"] })]);
    const id = await app.member.create({ prompt: "shown" });
    expect(await eventsOf(id)).toContain("PreviewEvent");
    expect(await readVerdicts(app.member, id)).toMatchObject([{ decision: "REPORTED" }]);
    expect((await app.member.generation(id)).images).toHaveLength(1);
  });

  test("does not hold up a cancellation, which charges the steps done", async () => {
    service.answer = hang;
    const id = await app.member.create({ prompt: "canceled" });
    await (await worker.nextCall()).started().step(18).succeed();
    await expect.poll(() => service.questions).toHaveLength(1);
    await app.member.query(CANCEL, { id });
    expect((await app.member.finished(id)).state).toBe("CANCELED");
    expect(await app.member.generation(id)).toMatchObject({ images: [], creditsCharged: "0.165888" });
  });

  test("and cannot be reached: it is drawn and asked again, and given up for free after the third time", async () => {
    service.answer = fail(400);
    const id = await app.member.create({ prompt: "unjudged" });
    const outcomes = async () => (await app.member.generation(id)).attempts.map(({ outcome }: any) => outcome);
    for (let i = 1; i <= 3; i++) {
      await (await worker.nextCall()).started().succeed();
      await expect.poll(async () => (await outcomes()).slice(0, i)).toEqual(Array(i).fill("FAILED"));
      expect((await app.member.generation(id)).images).toEqual([]);
    }
    expect(await app.member.finished(id)).toMatchObject({
      state: "DEAD_LETTERED",
      failure: { code: "MODERATION_UNAVAILABLE" },
      generation: { creditsCharged: "0" },
    });
  });

  test("and is back when it is drawn again, or need not be reached at all", async () => {
    service.answer = fail(400);
    const id = await app.member.create({ prompt: "judged late" });
    await (await worker.nextCall()).started().succeed();
    await expect.poll(async () => (await app.member.generation(id)).attempts[0]?.outcome).toBe("FAILED");
    service.answer = allow;
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    service.answer = fail(400);
    await setChecks(app.owner, [guard({ stages: ["IMAGE"], whenUnavailable: "ALLOW" })]);
    const open = await app.member.create({ prompt: "passes" });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(open)).state).toBe("SUCCEEDED");
    expect(await readVerdicts(app.member, open)).toMatchObject([{ decision: "UNAVAILABLE" }]);
  });

  test("fails single items of a batch, whose steps are charged", async () => {
    service.answer = () => ({ verdict: service.questions.length === 2 ? "BLOCK" : "ALLOW" });
    const id = await createBatch(app.member, ["a", "b", "c"]);
    for (let i = 0; i < 3; i++) await (await worker.nextCall()).started().succeed();
    expect(await finishedBatch(app.member, id)).toMatchObject({
      counts: { succeeded: 2, failed: 1 },
      credits: { charged: "0.497664", held: "0" },
    });
    const { nodes } = await readItems(app.member, id);
    expect(nodes.filter(({ error }: any) => error?.code === "CONTENT_BLOCKED")).toHaveLength(1);
  });
});

test("a picture that is being judged while the server stops is drawn and judged again", async () => {
  const first = new FakeWorker(1);
  const checker = new CheckerService();
  const settings = { ...SETTINGS, MODERATION_URL: await checker.start(), MODERATION_TIMEOUT_SECONDS: "60" };
  const before = await createTestApp({ workers: first }, settings);
  await setChecks(before.owner, [guard({ stages: ["IMAGE"] })]);
  checker.answer = hang;
  const id = await before.member.create({ prompt: "judged twice" });
  await (await first.nextCall()).started().succeed();
  await expect.poll(() => checker.questions).toHaveLength(1);
  await before.stop({ keepData: true });

  checker.answer = allow;
  const second = new FakeWorker(1);
  const after = await createTestApp({ workers: second }, { ...settings, DATA_DIR: before.dataDir });
  await (await second.nextCall()).started().succeed();
  expect((await after.member.finished(id)).state).toBe("SUCCEEDED");
  expect(checker.questions).toHaveLength(2);
  await expectBalancedLedger(after.db);
  await after.stop();
  await checker.stop();
});
