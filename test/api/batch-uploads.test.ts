import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { CANCEL_BATCH, CREATE_BATCH, newBatch, readBatch, readItems, readResults } from "../support/batches.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import type { GraphqlClient } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createUpload, upload } from "../support/uploads.ts";

/** 96 x 96 pixels, 18 steps. */
const PRICE = 165_888n;

describe("a batch of an uploaded file", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  const uploadFile = async (file: string | Uint8Array, client = app.member): Promise<string> =>
    (await upload(client, Buffer.from(file), "BATCH")).id;
  const inputOf = ({ items: _, ...input }: Partial<ReturnType<typeof newBatch>>, sourceUploadId: string) => ({
    ...input,
    sourceUploadId,
  });
  const create = async (sourceUploadId: string, input: object = {}, client: GraphqlClient = app.member) =>
    (await client.query(CREATE_BATCH, { input: { ...inputOf(newBatch([]), sourceUploadId), ...input } })).createBatch;
  const jsonl = (items: readonly object[]): string => items.map((item) => `${JSON.stringify(item)}\n`).join("");
  const countRows = () =>
    app.db.transaction(asPlatform, async (tx) => ({
      batches: await tx.batch.count(),
      items: await tx.batchItem.count(),
    }));
  const itemsOf = async (id: string) =>
    (await readItems(app.member, id)).nodes.map(({ customId, textToImage }: any) => ({ customId, ...textToImage }));

  const ITEMS = [
    { prompt: "a red circle" },
    { prompt: "a star", customId: "mine", steps: 9, seed: "18446744073709551615", count: 2 },
    { prompt: "日本の星 🌟", customId: null, count: null, seed: 7, guidanceScale: 2, speed: "FAST" },
  ];

  test.each([
    ["a list", JSON.stringify(ITEMS, undefined, 2)],
    ["JSONL", jsonl(ITEMS)],
  ])("is what it would be inline: %s", async (_, file) => {
    const defaults = { seed: "5", width: 48 };
    const { batch, userErrors } = await create(await uploadFile(file), { defaults });
    expect(userErrors).toEqual([]);
    const inline = await app.member.query(CREATE_BATCH, { input: newBatch(ITEMS, { defaults }) });
    expect({ ...batch, id: "", createdAt: "", resultsUrl: "" }).toEqual({
      ...inline.createBatch.batch,
      ...{ id: "", createdAt: "", resultsUrl: "" },
    });
    expect(await itemsOf(batch.id)).toEqual(await itemsOf(inline.createBatch.batch.id));
  });

  test("uses its file up, and is the same under the same key", async () => {
    const id = await uploadFile(JSON.stringify([{ prompt: "a" }, { prompt: "b" }]));
    const input = inputOf(newBatch([]), id);
    const first = await create(id, input);
    expect((await app.member.query("query($id: ID!) { upload(id: $id) { status } }", { id })).upload.status).toBe(
      "EXPIRED",
    );
    const second = await create(id, input);
    expect([second.batch.id, second.replayed]).toEqual([first.batch.id, true]);
    expect((await readResults(app.member, first.batch.id)).map(({ prompt }) => prompt)).toEqual(["a", "b"]);
    expect((await create(id)).userErrors).toMatchObject([
      { path: ["input", "sourceUploadId"], message: expect.stringContaining("or a batch was made of it") },
    ]);
  });

  test("may have more items than fit inline, and is canceled as any other", async () => {
    const id = await uploadFile(jsonl(Array.from({ length: 1200 }, (_, i) => ({ prompt: `picture ${i}` }))));
    const { batch, userErrors } = await create(id, { defaults: { steps: 1 } });
    expect(userErrors).toEqual([]);
    await expect.poll(() => readBatch(app.member, batch.id)).toMatchObject({ counts: { waiting: 1136, queued: 64 } });
    const results = await readResults(app.member, batch.id);
    expect(results).toHaveLength(1200);
    expect(results[1199]).toMatchObject({ customId: "00001199", prompt: "picture 1199", status: "WAITING" });
    await app.member.query(CANCEL_BATCH, { id: batch.id });
    expect(await readBatch(app.member, batch.id)).toMatchObject({ status: "CANCELED", counts: { canceled: 1200 } });
  });

  test("has at most 50000 items", async () => {
    const before = await countRows();
    const { userErrors } = await create(await uploadFile('{"prompt":"a"}\n'.repeat(50_001)));
    expect(userErrors).toMatchObject([
      { message: expect.stringContaining("at most 50000 items"), path: ["input", "sourceUploadId"] },
    ]);
    expect(await countRows()).toEqual(before);
  });

  test("is refused whole when it costs more than is left, and leaves nothing behind", async () => {
    const poor = await app.addMember("OWNER", { credits: 2n * PRICE });
    const before = await countRows();
    const file = await uploadFile(jsonl([{ prompt: "a" }, { prompt: "b" }, { prompt: "c" }]), poor);
    expect((await create(file, {}, poor)).userErrors).toMatchObject([{ code: "QUOTA_EXHAUSTED" }]);
    expect(await countRows()).toEqual(before);
    const cheap = await create(file, { defaults: { steps: 9 } }, poor); // the file is still there
    expect(cheap.userErrors).toEqual([]);
  });

  describe("is refused with every wrong item named by its place:", () => {
    test.each<[string, string | Uint8Array, { path: string[]; message: string | RegExp }[]]>([
      [
        "lines of a wrong kind, type, name and value",
        [
          '{"prompt": "a"}',
          '"a star"',
          '{"prompt": 7}',
          "",
          '{"promt": "a"}',
          '{"prompt": "a", "steps": 1.5, "speed": "WARP"}',
          '{"prompt": " "}',
          '{"prompt": "a", "steps": 37}',
          '{"prompt": "a"',
        ].join("\n"),
        [
          { path: ["1"], message: 'Line 2: Expected type "BatchItemInput" to be an object.' },
          { path: ["2", "prompt"], message: "Line 3: prompt: String cannot represent a non string value: 7" },
          { path: ["3"], message: 'Line 5: Field "prompt" of required type "String!" was not provided.' },
          {
            path: ["3"],
            message: 'Line 5: Field "promt" is not defined by type "BatchItemInput". Did you mean "prompt"?',
          },
          { path: ["4", "steps"], message: "Line 6: steps: Int cannot represent non-integer value: 1.5" },
          { path: ["4", "speed"], message: 'Line 6: speed: Value "WARP" does not exist in "Speed" enum.' },
          { path: ["5", "prompt"], message: "Line 7: prompt is empty. Say what to draw." },
          { path: ["6", "steps"], message: "Line 8: steps is 37; this preset allows 1 to 36." },
          { path: ["7"], message: /^Line 9: This is not valid JSON: / },
        ],
      ],
      [
        "customIds that are not unique, with both places",
        jsonl([{ prompt: "a", customId: "x" }, { prompt: "b" }, { prompt: "c", customId: "x" }]),
        [
          {
            path: ["2", "customId"],
            message: 'Line 3: Line 1 has the customId "x" too. Give each item one of its own.',
          },
        ],
      ],
      [
        "items of a list",
        '[{"prompt": "a"}, {"prompt": ""}, {"prompt": "c", "customId": "00000000"}]',
        [
          { path: ["1", "prompt"], message: "Item 1: prompt is empty. Say what to draw." },
          { path: ["2", "customId"], message: /^Item 2: Item 0 has the customId "00000000" too\./ },
        ],
      ],
      ["a list that was cut off", '[{"prompt": "a"}, {"prom', [{ path: ["1"], message: /^Item 1: The file ends/ }]],
      ["no items", "[]", [{ path: [], message: /^The file has no items\. Send / }]],
      ["a picture", Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), [{ path: ["0"], message: /^Line 1: This is not / }]],
    ])("%s", async (_, file, expected) => {
      const before = await countRows();
      const { batch, userErrors } = await create(await uploadFile(file));
      expect(batch).toBeNull();
      expect(userErrors).toMatchObject(
        expected.map(({ path, message }) => ({
          code: "INVALID_INPUT",
          path: ["input", "sourceUploadId", ...path],
          message: typeof message === "string" ? message : expect.stringMatching(message),
        })),
      );
      expect(await countRows()).toEqual(before);
    });

    test("at most twenty, none longer than a few lines", async () => {
      const file = jsonl(Array.from({ length: 50 }, () => ({ prompt: "a", steps: "x".repeat(10_000) })));
      const { userErrors } = await create(await uploadFile(file));
      expect(userErrors).toHaveLength(20);
      expect(Math.max(...userErrors.map(({ message }: any) => message.length))).toBeLessThan(400);
    });
  });

  test("needs a finished upload for batches of the caller's own, and no items beside it", async () => {
    const refusalOf = async (id: string, client = app.member) => {
      const { userErrors } = await create(id, {}, client);
      return userErrors.map(({ code, path, message }: any) => [code, path.join("."), message]);
    };
    const [unfinished, finished] = [await createUpload(app.member, "BATCH"), await uploadFile('[{"prompt": "a"}]')];
    const picture = await createUpload(app.member, "PICTURE");
    const at = "input.sourceUploadId";
    expect(await refusalOf(unfinished.uploadId)).toEqual([["INVALID_INPUT", at, expect.stringContaining("finish")]]);
    expect(await refusalOf(picture.uploadId)).toEqual([["INVALID_INPUT", at, expect.stringContaining("PICTURE")]]);
    expect(await refusalOf("upl_none")).toEqual([["NOT_FOUND", at, expect.any(String)]]);
    const stranger = await app.addMember("OWNER", { credits: PRICE });
    expect(await refusalOf(finished, stranger)).toEqual([["NOT_FOUND", at, expect.any(String)]]);
    const either = [{ code: "INVALID_INPUT", path: ["input"], message: "Give either items or sourceUploadId." }];
    expect((await create(finished, { items: [{ prompt: "a" }] })).userErrors).toMatchObject(either);
    expect((await create(finished, { sourceUploadId: null })).userErrors).toMatchObject(either);
  });
});
