import { Status } from "nice-grpc";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, type GraphqlClient } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { upload } from "../support/uploads.ts";

const REPLAY = `mutation($input: ReplayGenerationInput!) {
  replayGeneration(input: $input) {
    replayed
    generation {
      id state task preset priority deadlineAt creditsReserved createdBy { id }
      parent { id }
      textToImage { prompt unconditionalPrompt width height count steps guidanceScale guidanceSchedule temperature speed seed }
      imageEdit { instruction imageId uploadId maskUploadId seed }
      imageVariation { uploadId prompt strength seed }
      imageToText { question uploadId size maxTokens temperature topP seed }
    }
    userErrors { __typename code message path ... on QuotaError { level } }
  }
}`;

describe("a replay", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let keys = 0;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  const replay = async (id: string, input: object = {}, client: GraphqlClient = app.member): Promise<any> =>
    (await client.query(REPLAY, { input: { id, idempotencyKey: `replay ${++keys}`, ...input } })).replayGeneration;
  const refusalOf = async (...args: Parameters<typeof replay>): Promise<any> => {
    const { generation, userErrors } = await replay(...args);
    expect(generation).toBeNull();
    expect(userErrors).toHaveLength(1);
    return userErrors[0];
  };
  const succeed = async (id: string): Promise<void> => {
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  };
  const cancel = async (id: string, client = app.member): Promise<void> => {
    const { hungUp } = (await worker.nextCall()).started();
    await client.query(CANCEL, { id });
    await hungUp;
    expect((await client.finished(id)).state).toBe("CANCELED");
  };
  const change = (sql: string, id: string): Promise<unknown> =>
    app.db.transaction(asPlatform, (tx) => tx.$executeRawUnsafe(sql, id));
  const deadLetter = async (id: string): Promise<void> => {
    await change("update generation set failed_attempts = 2 where id = $1::uuid", fromGlobalId("Generation", id));
    (await worker.nextCall()).started().fail(Status.INTERNAL, "no more");
    expect((await app.member.finished(id)).state).toBe("DEAD_LETTERED");
  };
  const red = sharp({ create: { width: 96, height: 96, channels: 3, background: "red" } })
    .png()
    .toBuffer();

  test("of a dead letter is a new generation of the same task, that knows the old one and is known to it", async () => {
    const settings = { prompt: "again", steps: 7, guidanceScale: 2, guidanceSchedule: "LINEAR", speed: "FAST" };
    const id = await app.member.create(settings, { priority: "BATCH" });
    const asked = (await app.member.generation(id)).textToImage;
    await deadLetter(id);
    const { generation, replayed, userErrors } = await replay(id);
    expect(userErrors).toEqual([]);
    expect(replayed).toBe(false);
    expect(generation.id).not.toBe(id);
    expect(generation).toMatchObject({ state: "QUEUED", priority: "BATCH", preset: "tiny", deadlineAt: null });
    expect(generation).toMatchObject({ parent: { id }, textToImage: { ...settings, seed: asked.seed } });
    expect(generation.creditsReserved).toBe((await app.member.generation(id)).creditsReserved);
    await succeed(generation.id);
    const { generation: old } = await app.member.query(
      "query($id: ID!) { generation(id: $id) { state parent { id } replays { id parent { id } } } }",
      { id },
    );
    expect(old).toEqual({
      state: "DEAD_LETTERED",
      parent: null,
      replays: [{ id: generation.id, parent: { id } }],
    });
  });

  test("is possible of whatever has ended, and of nothing else", async () => {
    const id = await app.member.create({ prompt: "goes on" });
    const refusal = { __typename: "GenericError", code: "NOT_REPLAYABLE", path: ["input", "id"] };
    expect(await refusalOf(id)).toMatchObject({ ...refusal, message: expect.stringContaining("has not ended") });
    await cancel(id);
    const { generation } = await replay(id, { priority: "INTERACTIVE", deadlineMs: 3_600_000 });
    expect(generation).toMatchObject({ priority: "INTERACTIVE", deadlineAt: expect.any(String) });
    await succeed(generation.id);
    const again = (await replay(generation.id)).generation;
    expect(again).toMatchObject({ parent: { id: generation.id }, textToImage: generation.textToImage });
    await succeed(again.id);
  });

  test("with the same key and input is the same one, also when what it replays is deleted", async () => {
    const id = await app.member.create({ prompt: "once" });
    await cancel(id);
    const input = { idempotencyKey: "once" };
    const first = await replay(id, input);
    await cancel(first.generation.id);
    await app.member.query("mutation($id: ID!) { deleteGeneration(id: $id) { userErrors { message } } }", { id });
    expect(await replay(id, input)).toMatchObject({
      replayed: true,
      generation: { id: first.generation.id, parent: null },
    });
    expect(await refusalOf(id, { ...input, priority: "BATCH" })).toMatchObject({ code: "IDEMPOTENCY_KEY_REUSED" });
    expect(await refusalOf(id)).toMatchObject({ code: "NOT_FOUND", path: ["input", "id"] });
  });

  test("is its caller's, who pays for it; who may not read the old one finds none", async () => {
    const id = await app.member.create({ prompt: "of the member" });
    await cancel(id);
    expect(await refusalOf(id, {}, await app.addMember("MEMBER"))).toMatchObject({ code: "NOT_FOUND" });
    const operator = await app.addMember("OPERATOR");
    const { viewer } = await operator.query("{ viewer { user { id } } }");
    const { generation } = await replay(id, {}, operator);
    expect(generation).toMatchObject({ createdBy: viewer.user, parent: { id } });
    await cancel(generation.id, operator);
    const limit = { level: "MEMBER", userId: viewer.user.id, kind: "CREDITS", window: "DAY", max: "0", reason: "test" };
    const set = "mutation($input: SetLimitInput!) { setLimit(input: $input) { userErrors { message } } }";
    expect((await app.owner.query(set, { input: limit })).setLimit.userErrors).toEqual([]);
    expect(await refusalOf(id, {}, operator)).toMatchObject({ __typename: "QuotaError", level: "MEMBER" });
  });

  test.each([
    ["imageEdit", { instruction: "make it blue", seed: "5" }, (image: object) => ({ image, mask: image })],
    ["imageVariation", { strength: 0.5, prompt: "a circle", seed: "6" }, (image: object) => ({ image })],
    ["imageToText", { question: "What?", topP: 0.5, temperature: 1, seed: "7" }, (image: object) => ({ image })],
  ])("of %s starts from the same picture, and says so when that is gone", async (task, settings, pictures) => {
    const white = await sharp(await red)
      .negate()
      .png()
      .toBuffer();
    const { id: uploadId } = await upload(app.member, task === "imageEdit" ? white : await red);
    const id = await app.member.createTask({ [task]: { ...settings, ...pictures({ uploadId }) } });
    await cancel(id);
    const { generation, userErrors } = await replay(id);
    expect(userErrors).toEqual([]);
    expect(generation[task]).toMatchObject({ ...settings, uploadId });
    await cancel(generation.id);
    await change(
      "update upload set expires_at = now() - interval '1 second' where id = $1::uuid",
      fromGlobalId("Upload", uploadId),
    );
    expect(await refusalOf(id)).toMatchObject({
      code: "NOT_REPLAYABLE",
      message: expect.stringMatching(/^It cannot be replayed\. This upload has expired/),
      path: ["input", "id"],
    });
  });

  test("of several is one of each, and refuses some without the others; repeated, it replays none twice", async () => {
    const ids: string[] = [];
    for (const prompt of ["one", "two"]) {
      ids.push(await app.member.create({ prompt }));
      await cancel(ids.at(-1)!);
    }
    const replayAll = async (all: readonly string[]): Promise<any> => {
      const text = `mutation($input: ReplayGenerationsInput!) { replayGenerations(input: $input) {
        results { id generation { id parent { id } } userErrors { code path } } userErrors { code path } } }`;
      return (await app.member.query(text, { input: { ids: all, idempotencyKey: "several" } })).replayGenerations;
    };
    const { results, userErrors } = await replayAll([ids[0]!, ids[0]!, "gen_\0", ids[1]!]);
    expect(userErrors).toEqual([]);
    expect(results).toEqual([
      { id: ids[0], generation: { id: expect.any(String), parent: { id: ids[0] } }, userErrors: [] },
      { id: "gen_\0", generation: null, userErrors: [{ code: "NOT_FOUND", path: ["input", "ids"] }] },
      { id: ids[1], generation: { id: expect.any(String), parent: { id: ids[1] } }, userErrors: [] },
    ]);
    await cancel(results[0].generation.id);
    await cancel(results[2].generation.id);
    expect((await replayAll(ids)).results).toEqual([results[0], results[2]]);
    expect((await replayAll([])).userErrors).toEqual([{ code: "INVALID_INPUT", path: ["input", "ids"] }]);
  });

  test("is refused when the texts of what it would replay are deleted", async () => {
    const id = await app.member.create({ prompt: "private" });
    await cancel(id);
    await change("update generation set texts_deleted_at = now() where id = $1::uuid", fromGlobalId("Generation", id));
    expect(await refusalOf(id)).toMatchObject({ code: "NOT_REPLAYABLE", message: expect.stringContaining("texts") });
  });
});
