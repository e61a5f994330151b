import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cancelWaiting } from "../../src/generation/batch.store.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId, newId, toGlobalId } from "../../src/platform/ids.ts";
import { BatchFeeder } from "../../src/scheduler/batch-feeder.ts";
import {
  CANCEL_BATCH,
  CREATE_BATCH,
  createBatch,
  newBatch,
  readBatch,
  readItems,
  readResults,
} from "../support/batches.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import type { GraphqlClient } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

/** 96 x 96 pixels, 18 steps. */
const PRICE = 165_888n;

describe("a batch", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  const create = async (input: object, client: GraphqlClient = app.member) =>
    (await client.query(CREATE_BATCH, { input })).createBatch;
  const countRows = () =>
    app.db.transaction(asPlatform, async (tx) => ({
      batches: await tx.batch.count(),
      items: await tx.batchItem.count(),
    }));

  test("reserves the price of all its items at once, and shows them", async () => {
    const input = newBatch(["a red circle", { customId: "mine", prompt: "a star", steps: 9, seed: "7" }], {
      defaults: { count: 2 },
    });
    const { batch, userErrors, replayed } = await create(input);
    expect([userErrors, replayed]).toEqual([[], false]);
    expect(batch).toMatchObject({
      status: "RUNNING",
      preset: "tiny",
      total: 2,
      cancelRequestedAt: null,
      finishedAt: null,
      credits: { reserved: "0.497664", charged: "0", held: "0.497664" },
    });
    const { nodes } = await readItems(app.member, batch.id);
    expect(nodes).toMatchObject([
      { index: 0, customId: "00000000", textToImage: { prompt: "a red circle", steps: 18, count: 2 } },
      { index: 1, customId: "mine", textToImage: { prompt: "a star", steps: 9, count: 2, seed: "7" } },
    ]);
    expect(nodes[0].textToImage.seed).toMatch(/^\d+$/);
  });

  test("gives item i the default seed plus i, from the largest to 0, unless it has one of its own", async () => {
    const id = await createBatch(app.member, ["a", "b", { prompt: "c", seed: "3" }, "d"], {
      defaults: { seed: "18446744073709551614" },
    });
    const { nodes } = await readItems(app.member, id);
    expect(nodes.map(({ textToImage }: any) => textToImage.seed)).toEqual([
      "18446744073709551614",
      "18446744073709551615",
      "3",
      "1",
    ]);
  });

  test("becomes generations of the class BATCH, a window at a time", async () => {
    const id = await createBatch(
      app.member,
      Array.from({ length: 100 }, (_, i) => `picture ${i}`),
    );
    await expect.poll(() => readBatch(app.member, id)).toMatchObject({ counts: { waiting: 36, queued: 64 } });
    const { nodes } = await readItems(app.member, id);
    expect(nodes.map(({ status }: any) => status)).toEqual([...Array(64).fill("QUEUED"), ...Array(36).fill("WAITING")]);
    expect(nodes[63].generation).toMatchObject({ state: "QUEUED", priority: "BATCH" });
    expect(nodes[64].generation).toBeNull();
  });

  test("shows its items page by page, without gaps or repeats", async () => {
    const id = await createBatch(app.member, ["a", "b", "c", "d", "e"]);
    const seen: string[] = [];
    for (let page = "first: 2", more = true; more; ) {
      const { nodes, pageInfo } = await readItems(app.member, id, page);
      seen.push(...nodes.map(({ textToImage }: any) => textToImage.prompt));
      expect(pageInfo.hasPreviousPage).toBe(seen.length > 2);
      page = `first: 2, after: "${pageInfo.endCursor}"`;
      more = pageInfo.hasNextPage;
    }
    expect(seen).toEqual(["a", "b", "c", "d", "e"]);
    for (const page of ["first: 0", "first: 101", 'first: 1, after: "c_x"']) {
      const { errors } = await app.member.send(`{ batch(id: "${id}") { items(${page}) { nodes { index } } } }`);
      expect(errors?.[0]?.extensions["code"]).toBe("INVALID_INPUT");
    }
  });

  test("is listed newest first", async () => {
    const older = await createBatch(app.member, ["a"]);
    const newer = await createBatch(app.member, ["a"]);
    const page = (text: string) => app.member.query(`{ batches(${text}) { nodes { id } pageInfo { endCursor } } }`);
    const { batches } = await page("first: 1");
    expect(batches.nodes).toEqual([{ id: newer }]);
    expect((await page(`first: 1, after: "${batches.pageInfo.endCursor}"`)).batches.nodes).toEqual([{ id: older }]);
  });

  test("is refused whole when it costs more than is left, and leaves nothing behind", async () => {
    const poor = await app.addMember("OWNER", { credits: 3n * PRICE - 1n });
    const before = await countRows();
    const { batch, userErrors } = await create(newBatch(["a", "b", "c"]), poor);
    expect(batch).toBeNull();
    expect(userErrors).toMatchObject([
      { __typename: "QuotaError", code: "QUOTA_EXHAUSTED", level: "TENANT", needed: "0.497664", available: "0.497663" },
    ]);
    expect(await countRows()).toEqual(before);
    expect((await create(newBatch(["a", "b"]), poor)).userErrors).toEqual([]);
  });

  describe("with the same idempotency key", () => {
    test("is the same batch, also when both calls run at once, and reserves once", async () => {
      const input = newBatch(["a", "b"]);
      const before = await countRows();
      const answers = await Promise.all([create(input), create(input), create(input)]);
      expect(new Set(answers.map(({ batch }) => batch.id)).size).toBe(1);
      expect(answers.filter(({ replayed }) => replayed)).toHaveLength(2);
      expect((await create(input)).replayed).toBe(true);
      expect(await countRows()).toEqual({ batches: before.batches + 1, items: before.items + 2 });
    });

    test("and other items is refused", async () => {
      const input = newBatch(["a"]);
      await create(input);
      const { batch, userErrors } = await create({ ...input, items: [{ prompt: "b" }] });
      expect(batch).toBeNull();
      expect(userErrors).toMatchObject([{ code: "IDEMPOTENCY_KEY_REUSED" }]);
    });
  });

  describe("is refused with every wrong item named:", () => {
    test.each<[string, object, { path: string[]; message: string }[]]>([
      ["no items", { items: [] }, [{ path: ["items"], message: "A batch has 1 to 1000 items" }]],
      [
        "more items than fit",
        { items: Array.from({ length: 1001 }, () => ({ prompt: "a" })) },
        [{ path: ["items"], message: "these are 1001" }],
      ],
      [
        "several wrong ones",
        { items: [{ prompt: "a" }, { prompt: " " }, { prompt: "b", steps: 37 }, { prompt: "c", seed: "-1" }] },
        [
          { path: ["items", "1", "prompt"], message: "Item 1: prompt is empty. Say what to draw." },
          { path: ["items", "2", "steps"], message: "Item 2: steps is 37; this preset allows 1 to 36." },
          { path: ["items", "3", "seed"], message: 'Item 3: seed "-1" is not a whole number' },
        ],
      ],
      [
        "customIds that are not unique",
        { items: [{ prompt: "a", customId: "00000001" }, { prompt: "b" }] },
        [{ path: ["items", "1", "customId"], message: 'Item 1: Item 0 has the customId "00000001" too.' }],
      ],
      [
        "customIds that are empty or too long",
        {
          items: [
            { prompt: "a", customId: "" },
            { prompt: "b", customId: "x".repeat(129) },
          ],
        },
        [
          { path: ["items", "0", "customId"], message: "Item 0: customId must have 1 to 128 characters." },
          { path: ["items", "1", "customId"], message: "Item 1: customId must have 1 to 128 characters." },
        ],
      ],
      [
        "wrong defaults",
        { defaults: { width: 97 }, items: [{ prompt: "a" }] },
        [{ path: ["defaults", "width"], message: "Defaults: 97x97 pixels are not offered" }],
      ],
      ["an unknown preset", { preset: "none", items: [{ prompt: "a" }] }, [{ path: ["preset"], message: '"none"' }]],
    ])("%s", async (_, input, expected) => {
      const before = await countRows();
      const { batch, userErrors } = await create({ ...newBatch([]), ...input });
      expect(batch).toBeNull();
      expect(userErrors).toMatchObject(
        expected.map(({ path, message }) => ({
          code: "INVALID_INPUT",
          path: ["input", ...path],
          message: expect.stringContaining(message),
        })),
      );
      expect(await countRows()).toEqual(before);
    });

    test("at most twenty", async () => {
      const { userErrors } = await create(newBatch(Array.from({ length: 50 }, () => " ")));
      expect(userErrors).toHaveLength(20);
    });
  });

  describe("that is canceled before anything ran", () => {
    test("releases everything, and can be canceled again", async () => {
      const held = async () => {
        const { viewer } = await app.member.query("{ viewer { tenant { credits { held } } } }");
        return BigInt(Math.round(1e6 * viewer.tenant.credits.held));
      };
      const before = await held();
      const id = await createBatch(
        app.member,
        Array.from({ length: 70 }, () => "a"),
      );
      await expect.poll(() => readBatch(app.member, id)).toMatchObject({ counts: { queued: 64 } });
      expect(await held()).toBe(before + 70n * PRICE);
      const { cancelBatch } = await app.member.query(CANCEL_BATCH, { id });
      expect(cancelBatch).toMatchObject({
        userErrors: [],
        batch: {
          status: "CANCELED",
          counts: { waiting: 0, queued: 0, running: 0, canceled: 70 },
          credits: { reserved: "11.61216", charged: "0", held: "0" },
          finishedAt: expect.any(String),
        },
      });
      expect(await held()).toBe(before);
      const { nodes } = await readItems(app.member, id);
      expect(nodes.every(({ status }: any) => status === "CANCELED")).toBe(true);
      expect((await app.member.query(CANCEL_BATCH, { id })).cancelBatch.userErrors).toEqual([]);
    });

    test("is finished by the next duty when the server was killed in between", async () => {
      const id = await createBatch(app.member, ["a", "b"]);
      await expect.poll(() => readBatch(app.member, id)).toMatchObject({ counts: { queued: 2 } });
      await app.db.transaction(asPlatform, (tx) => cancelWaiting(tx, fromGlobalId("Batch", id))); // and not a step further
      await expect.poll(() => readBatch(app.member, id)).toMatchObject({ status: "CANCELED", counts: { canceled: 2 } });
    });
  });

  test("counts an item that was canceled by itself", async () => {
    const id = await createBatch(app.member, ["a", "b"]);
    await expect.poll(() => readBatch(app.member, id)).toMatchObject({ counts: { queued: 2 } });
    const { nodes } = await readItems(app.member, id);
    const generation = nodes[1].generation.id;
    await app.member.query("mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { code } } }", {
      id: generation,
    });
    expect(await readBatch(app.member, id)).toMatchObject({ status: "RUNNING", counts: { queued: 1, canceled: 1 } });
  });

  test("gives its results while it runs, under a link that works for anyone and cannot be forged", async () => {
    const id = await createBatch(
      app.member,
      Array.from({ length: 150 }, (_, i) => `picture ${i}`),
    );
    const results = await readResults(app.member, id);
    expect(results.map(({ index, prompt }) => [index, prompt])).toEqual(
      Array.from({ length: 150 }, (_, i) => [i, `picture ${i}`]),
    );
    expect(results[149]).toEqual({
      index: 149,
      customId: "00000149",
      status: "WAITING",
      prompt: "picture 149",
      seed: expect.stringMatching(/^\d+$/),
      generationId: null,
      creditsCharged: null,
      error: null,
      images: [],
    });
    const { resultsUrl } = await readBatch(app.member, id);
    const other = await readBatch(app.member, await createBatch(app.member, ["a"]));
    const swapped = resultsUrl.replace(/batches\/[^?]+/, /batches\/[^?]+/.exec(other.resultsUrl)![0]);
    expect((await fetch(swapped)).status).toBe(403);
    expect((await fetch(resultsUrl, { method: "POST" })).status).toBe(405);
    expect((await fetch(resultsUrl, { method: "HEAD" })).status).toBe(200);
  });

  test("is absent for another tenant, and for a colleague", async () => {
    const id = await createBatch(app.member, ["a"]);
    const stranger = await app.addMember("OWNER", { credits: 1_000_000n });
    const colleague = await app.addMember("MEMBER");
    const operator = await app.addMember("OPERATOR");
    const viewer = await app.addMember("VIEWER");
    const read = (client: GraphqlClient) => client.send("query($id: ID!) { batch(id: $id) { total } }", { id });
    for (const client of [stranger, colleague]) {
      expect((await read(client)).errors?.[0]?.extensions["code"]).toBe("NOT_FOUND");
      expect((await client.query(CANCEL_BATCH, { id })).cancelBatch.userErrors[0].code).toBe("NOT_FOUND");
    }
    expect((await stranger.query("{ batches(first: 10, scope: TENANT) { nodes { id } } }")).batches.nodes).toEqual([]);
    expect((await create(newBatch(["a"]), viewer)).userErrors[0].code).toBe("FORBIDDEN");
    expect((await viewer.query(CANCEL_BATCH, { id })).cancelBatch.userErrors[0].code).toBe("FORBIDDEN");
    expect((await read(viewer)).data.batch.total).toBe(1);
    expect((await operator.query(CANCEL_BATCH, { id })).cancelBatch.userErrors).toEqual([]);
  });

  test("that was never accepted exists for nobody, and is swept an hour later", async () => {
    const id = await createBatch(app.member, ["a"]);
    const draft = await app.db.transaction(asPlatform, async (tx) => {
      const { id: _, ...row } = await tx.batch.findFirstOrThrow({ orderBy: { id: "desc" } });
      return tx.batch.create({
        data: {
          ...row,
          settings: {},
          id: newId(),
          acceptedAt: null,
          items: { create: [{ ...ITEM, tenantId: row.tenantId }] },
        },
      });
    });
    expect((await app.member.query("{ batches(first: 1) { nodes { id } } }")).batches.nodes).toEqual([{ id }]);
    expect((await app.member.send(`{ batch(id: "${toGlobalId("Batch", draft.id)}") { id } }`)).errors).toHaveLength(1);
    const feeder = new BatchFeeder({ db: app.db } as ConstructorParameters<typeof BatchFeeder>[0]);
    expect(await feeder.sweepDrafts()).toBe(0);
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update batch set created_at = now() - interval '61 minutes' where accepted_at is null`,
    );
    expect(await feeder.sweepDrafts()).toBe(1);
    expect(await app.db.transaction(asPlatform, (tx) => tx.batch.count({ where: { id: draft.id } }))).toBe(0);
  });
});

const ITEM = { index: 0, customId: "a", settings: {}, credits: 1n };
