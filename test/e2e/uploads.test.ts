import sharp, { type Sharp } from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { CREATE, type GraphqlClient, newTask } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createUpload, send, UPLOAD, upload } from "../support/uploads.ts";

describe("tasks on uploaded pictures", () => {
  let app: TestApp;
  let member: GraphqlClient;
  /** A drawn circle, once as the picture of a generation and once uploaded. */
  let imageId: string;
  let uploadId: string;
  let drawn: Buffer;

  beforeAll(async () => {
    app = await createTestApp();
    member = app.member;
    const { generation } = await member.finished(
      await member.create({ prompt: "a red circle at the left", seed: "3" }),
    );
    imageId = generation.images[0].id;
    drawn = Buffer.from(await (await fetch(generation.images[0].url)).arrayBuffer());
    uploadId = (await upload(member, drawn)).id;
  });
  afterAll(() => app.stop());

  const run = async (task: object): Promise<any> => {
    const id = await member.createTask(task);
    expect((await member.finished(id)).state).toBe("SUCCEEDED");
    return member.generation(id);
  };
  const refusalOf = async (task: object, client = member): Promise<any> => {
    const { createGeneration } = await client.query(CREATE, { input: newTask(task) });
    expect(createGeneration.generation).toBeNull();
    return createGeneration.userErrors[0];
  };
  const edit = (image: object, mask?: object) => ({
    imageEdit: { image, instruction: "make the circle blue", seed: "1", ...(mask && { mask }) },
  });
  /** Black, with a white square. */
  const maskOf = (side: number, square: object = { left: side / 2, top: 0, width: side / 2, height: side }): Sharp =>
    sharp({ create: { width: side, height: side, channels: 3, background: "black" } }).composite([
      { input: { create: { channels: 3, background: "white", ...square } as never }, ...(square as object) },
    ]);

  test("an edit of an uploaded picture is the edit of the picture itself", async () => {
    const [ofUpload, ofImage] = [await run(edit({ uploadId })), await run(edit({ imageId }))];
    expect(ofUpload.imageEdit).toMatchObject({ uploadId, imageId: null, maskUploadId: null, maskImageId: null });
    expect(ofUpload.images[0].sha256).toBe(ofImage.images[0].sha256);
    await expectBalancedLedger(app.db);
  });

  test("an uploaded picture is varied, and asked about", async () => {
    const varied = await run({ imageVariation: { image: { uploadId }, strength: 0.5, seed: "1" } });
    expect(varied.imageVariation).toMatchObject({ uploadId, imageId: null });
    const question = { question: "How many objects are there?", maxTokens: 40 };
    const answered = await run({ imageToText: { image: { uploadId }, ...question } });
    expect(answered).toMatchObject({ answer: "There is one object.", imageToText: { uploadId, imageId: null } });
  });

  test("only what an uploaded mask opens is drawn anew", async () => {
    const mask = await upload(member, await maskOf(96).png().toBuffer());
    const masked = await run(edit({ imageId }, { uploadId: mask.id }));
    expect(masked.imageEdit).toMatchObject({ imageId, uploadId: null, maskUploadId: mask.id, maskImageId: null });
    const result = await (await fetch(masked.images[0].url)).arrayBuffer();
    const left = (bytes: ArrayBuffer | Buffer) =>
      sharp(bytes).extract({ left: 0, top: 0, width: 32, height: 96 }).removeAlpha().raw().toBuffer();
    expect((await left(result)).equals(await left(drawn))).toBe(true);
    expect(masked.images[0].sha256).not.toBe((await run(edit({ imageId }))).images[0].sha256);
  });

  test("a picture that a generation shows no longer expires", async () => {
    const target = await upload(member, drawn);
    expect(target.expiresAt).not.toBeNull();
    await member.createTask({ imageToText: { image: { uploadId: target.id }, question: "What is it?", maxTokens: 1 } });
    const query = `query($id: ID!) { upload(id: $id) { ${UPLOAD} } }`;
    const { upload: used } = await member.query(query, { id: target.id });
    expect(used).toMatchObject({ status: "READY", expiresAt: null });
    expect((await fetch(used.url)).status).toBe(200);
    const unused = await upload(member, drawn);
    await refusalOf({ imageToText: { image: { uploadId: unused.id }, question: "" } });
    expect((await member.query(query, { id: unused.id })).upload.expiresAt).not.toBeNull();
  });

  test.each<[string, () => Promise<Buffer>, string]>([
    [
      "of another size",
      () => maskOf(90).png().toBuffer(),
      "The mask has 90 x 90 pixels and the picture 96 x 96. Make them the same size.",
    ],
    [
      "that opens nothing",
      () =>
        sharp({ create: { width: 96, height: 96, channels: 3, background: "#7f7f7f" } })
          .png()
          .toBuffer(),
      "The mask is empty. Paint white what is to be drawn anew, and the rest black.",
    ],
  ])("a mask %s is refused before it costs anything", async (_, bytes, message) => {
    const mask = await upload(member, await bytes());
    for (const image of [{ uploadId }, { imageId }]) {
      expect(await refusalOf(edit(image, { uploadId: mask.id }))).toMatchObject({
        code: "INVALID_INPUT",
        message,
        path: ["input", "task", "imageEdit", "mask"],
      });
    }
  });

  test("uploads that are not finished, expired, for something else, or another's cannot be started from", async () => {
    const path = ["input", "task", "imageEdit", "image"];
    const waiting = await createUpload(member, "PICTURE");
    await send(waiting, drawn);
    expect(await refusalOf(edit({ uploadId: waiting.uploadId }))).toMatchObject({
      code: "INVALID_INPUT",
      message: "This upload is not finished. Call finishUpload first.",
      path,
    });
    const expired = await upload(member, drawn);
    const id = fromGlobalId("Upload", expired.id);
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update upload set expires_at = now() where id = ${id}::uuid`,
    );
    expect(await refusalOf(edit({ uploadId: expired.id }))).toMatchObject({
      code: "INVALID_INPUT",
      message: "This upload has expired. Send the file again, with createUpload.",
      path,
    });
    const batch = await upload(member, Buffer.from("[]"), "BATCH");
    expect(await refusalOf(edit({ uploadId: batch.id }))).toMatchObject({
      code: "INVALID_INPUT",
      message: "This upload has the purpose BATCH; here, it must be PICTURE.",
      path,
    });
    const stranger = await app.addMember("OWNER", { credits: 1_000_000_000n });
    for (const client of [stranger, await app.addMember("MEMBER")]) {
      const message = `There is no upload "${uploadId}".`;
      expect(await refusalOf(edit({ uploadId }), client)).toMatchObject({ code: "NOT_FOUND", message, path });
    }
    const { errors } = await member.send(CREATE, { input: newTask(edit({ uploadId, imageId })) });
    expect(errors?.[0]?.message).toContain('Exactly one key must be specified for OneOf type "PictureInput"');
  });
});
