import { rmSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { CREATE, type GraphqlClient, newTask } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("tasks on pictures", () => {
  let app: TestApp;
  let member: GraphqlClient;
  /** A drawn circle. */
  let imageId: string;

  beforeAll(async () => {
    app = await createTestApp();
    member = app.member;
    const id = await member.create({ prompt: "a red circle at the center", seed: "3" });
    imageId = (await member.finished(id)).generation.images[0].id;
  });
  afterAll(() => app.stop());

  test("an edit draws a new picture from an old one, and shows what it was asked for", async () => {
    const id = await member.createTask({
      imageEdit: { image: { imageId }, instruction: "make the circle blue", count: 2, seed: "1" },
    });
    const { state, generation } = await member.finished(id);
    expect([state, generation.images.length]).toEqual(["SUCCEEDED", 2]);
    const edited = await member.generation(id);
    expect(edited).toMatchObject({
      task: "IMAGE_EDIT",
      textToImage: null,
      imageEdit: { instruction: "make the circle blue", imageId, maskImageId: null, seed: "1", count: 2 },
      answer: null,
    });
    const bytes = await (await fetch(generation.images[0].url)).arrayBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ format: "png", width: 96, height: 96 });
    await expectBalancedLedger(app.db);
  });

  test("a picture is varied, and the settings say how", async () => {
    const id = await member.createTask({
      imageVariation: { image: { imageId }, strength: 0.5, count: 2, seed: "1" },
    });
    await member.finished(id);
    const generation = await member.generation(id);
    expect(generation).toMatchObject({
      task: "IMAGE_VARIATION",
      state: "SUCCEEDED",
      imageVariation: { imageId, strength: 0.5, prompt: null, seed: "1", count: 2 },
    });
    expect(generation.images).toHaveLength(2);
    expect(generation.images[0].sha256).not.toBe(generation.images[1].sha256);
    await expectBalancedLedger(app.db);
  });

  test("a question is answered word by word, and charged by the tokens of the answer", async () => {
    const id = await member.createTask({
      imageToText: { image: { imageId }, question: "How many objects are there?", maxTokens: 40 },
    });
    let answer = "";
    let finished: { generation: { creditsCharged: string } } | undefined;
    for await (const event of member.events(id)) {
      if (event.__typename === "FinishedEvent") finished = event;
      if (event.__typename !== "TextDeltaEvent") continue;
      expect(event.offset).toBe(answer.length);
      answer += event.text;
    }
    const generation = await member.generation(id);
    expect(generation).toMatchObject({ task: "IMAGE_TO_TEXT", state: "SUCCEEDED", answer: "There is one object." });
    expect(generation.answer.startsWith(answer)).toBe(true);
    expect(generation.imageToText).toEqual({
      question: "How many objects are there?",
      imageId,
      uploadId: null,
      size: 96,
      maxTokens: 40,
      temperature: 0,
      topP: 1,
      seed: expect.any(String),
    });
    const [{ stepsDone }] = generation.attempts;
    expect(stepsDone).toBeGreaterThan(3);
    expect(stepsDone).toBeLessThan(40);
    expect(finished?.generation.creditsCharged).toBe(String((96 * 96 + 10_000 * stepsDone) / 1e6));
    expect(Number(generation.creditsReserved)).toBe((96 * 96 + 10_000 * 40) / 1e6);
    await expectBalancedLedger(app.db);
  });

  test("the words of an answer are drawn when it has a temperature, again the same for its seed", async () => {
    const ask = async (seed: string): Promise<{ answer: string; imageToText: object }> => {
      const question = { question: "Describe the image in detail.", maxTokens: 40, temperature: 3, seed };
      const id = await member.createTask({ imageToText: { image: { imageId }, ...question } });
      await member.finished(id);
      return member.generation(id);
    };
    const { answer, imageToText } = await ask("1");
    expect(imageToText).toMatchObject({ temperature: 3, topP: 1, seed: "1" });
    expect((await ask("1")).answer).toBe(answer);
    expect((await ask("2")).answer).not.toBe(answer);
  });

  test("who joins late gets the whole answer so far first", async () => {
    const id = await member.createTask({
      imageToText: { image: { imageId }, question: "Describe the image in detail.", maxTokens: 64 },
    });
    for await (const event of member.events(id)) if (event.__typename === "TextDeltaEvent") break;
    for await (const event of member.events(id)) {
      if (event.__typename !== "TextDeltaEvent") continue;
      expect(event.offset).toBe(0);
      break;
    }
    await member.finished(id);
  });

  test.each<[string, object, string, readonly string[]]>([
    [
      "an empty instruction",
      { imageEdit: { instruction: " " } },
      "instruction is empty. Say what to change.",
      ["instruction"],
    ],
    [
      "a size that is not offered",
      { imageEdit: { instruction: "x", width: 100 } },
      "100x100 pixels are not offered",
      ["width"],
    ],
    [
      "a variation of nothing",
      { imageVariation: { strength: 0 } },
      "strength is 0; this preset allows 0.000001 to 1.",
      ["strength"],
    ],
    ["an empty question", { imageToText: { question: "" } }, "question is empty. Say what to answer.", ["question"]],
    [
      "too many tokens",
      { imageToText: { question: "x", maxTokens: 10_000 } },
      "maxTokens is 10000; this preset allows 1 to 490.",
      ["maxTokens"],
    ],
    [
      "a probability of nothing",
      { imageToText: { question: "x", topP: 0 } },
      "topP is 0; this preset allows 0.000001 to 1.",
      ["topP"],
    ],
    [
      "a size that is not read",
      { imageToText: { question: "x", size: 100 } },
      "This preset does not look at 100 pixels. Allowed: 96.",
      ["size"],
    ],
  ])("%s is refused, with what is possible", async (_, task, message, path) => {
    const [[name, wish]] = Object.entries(task) as [[string, object]];
    const { createGeneration } = await member.query(CREATE, {
      input: newTask({ [name]: { image: { imageId }, ...wish } }),
    });
    expect(createGeneration.userErrors).toEqual([
      expect.objectContaining({ code: "INVALID_INPUT", message: expect.stringContaining(message) }),
    ]);
    expect(createGeneration.userErrors[0].path).toEqual(["input", "task", name, ...path]);
  });

  test("pictures of others, and ids that are none, are equally absent", async () => {
    const stranger = await app.addMember("OWNER", { credits: 1_000_000_000n });
    const colleague = await app.addMember("MEMBER");
    for (const [client, id] of [
      [stranger, imageId],
      [colleague, imageId],
      [member, "img_nonsense"],
      [member, imageId.replace("img_", "gen_")],
    ] as const) {
      const task = { imageEdit: { image: { imageId: id }, instruction: "make it blue" } };
      const { createGeneration } = await client.query(CREATE, { input: newTask(task) });
      expect(createGeneration.userErrors).toEqual([
        expect.objectContaining({ code: "NOT_FOUND", message: `There is no image "${id}".` }),
      ]);
      expect(createGeneration.userErrors[0].path).toEqual(["input", "task", "imageEdit", "image"]);
    }
    await expectBalancedLedger(app.db);
  });

  test("a picture whose bytes are gone fails the edit for free, with what to do", async () => {
    const source = await member.create({ prompt: "a star", seed: "9" });
    const image = (await member.finished(source)).generation.images[0];
    const row = await app.db.transaction(asPlatform, (tx) =>
      tx.image.findFirstOrThrow({ where: { sha256: image.sha256 } }),
    );
    rmSync(join(app.dataDir, "images", row.storageKey), { recursive: true });
    const id = await member.createTask({ imageEdit: { image: { imageId: image.id }, instruction: "make it blue" } });
    const { state, failure, generation } = await member.finished(id);
    expect([state, generation.creditsCharged]).toEqual(["FAILED", "0"]);
    expect(failure).toEqual({
      code: "INVALID_INPUT",
      message: "The picture that it starts from was deleted. Choose another one.",
    });
    await expectBalancedLedger(app.db);
  });
});
