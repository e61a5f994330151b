import { createHash } from "node:crypto";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectSamePicture, pictureOf } from "../support/company.ts";
import { CANCEL, CREATE, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createTogether } from "../support/together.ts";

describe("the whole product", () => {
  let app: TestApp;
  /** What the shipped preset offers: tests hold for whatever it is. */
  let offer: { sizes: { width: number; height: number }[]; defaultSteps: number; maxSteps: number; maxCount: number };
  let side: number;

  beforeAll(async () => {
    app = await createTestApp();
    const { presets } = await app.member.query(
      "{ presets { textToImage { sizes { width height } defaultSize { width } defaultSteps maxSteps maxCount } } }",
    );
    offer = presets[0].textToImage;
    side = presets[0].textToImage.defaultSize.width;
  });
  afterAll(() => app.stop());

  test("draws what a mutation asks for, shows it patch by patch, and gives the picture under a signed link", async () => {
    const id = await app.member.create({ prompt: "a red circle at the top left", seed: "1" });
    const events = [];
    for await (const event of app.member.events(id)) events.push(event);
    const names = events.map(({ __typename }) => __typename);
    expect(names.slice(0, 2)).toEqual(["QueuedEvent", "StartedEvent"]);
    expect(names.at(-1)).toBe("FinishedEvent");

    const steps = events.filter(({ __typename }) => __typename === "ProgressEvent").map(({ step }) => step);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(steps.at(-1)).toBe(offer.defaultSteps);
    const previews = events.filter(({ __typename }) => __typename === "PreviewEvent");
    expect(previews.length).toBeGreaterThan(0);
    for (const { dataBase64, width, height, mimeType } of previews) {
      const webp = Buffer.from(dataBase64, "base64");
      expect(webp.length).toBeLessThanOrEqual(24 * 1024);
      expect(await sharp(webp).metadata()).toMatchObject({ format: "webp", width, height });
      expect(mimeType).toBe("image/webp");
    }

    const { state, seq, creditsCharged, images, recipe, attempts } = await app.member.generation(id);
    expect({ state, seq, creditsCharged, attempts: attempts.length }).toEqual({
      state: "SUCCEEDED",
      seq: 3,
      creditsCharged: String((side * side * offer.defaultSteps) / 1e6),
      attempts: 1,
    });
    expect(recipe).toMatchObject({ provider: "cpu", threads: 1, buildDigest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const response = await fetch(images[0].url);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(images[0].sha256);
    expect(bytes.length).toBe(images[0].sizeBytes);
    expect(await redAtTopLeft(bytes)).toBe(true);
    await expectBalancedLedger(app.db);
  });

  test("draws pictures that are not square, in at most a step for each patch", async () => {
    const id = await app.member.create({ prompt: "a red circle", width: 48, height: 32, seed: "1" });
    await app.member.finished(id);
    const { images, textToImage } = await app.member.generation(id);
    expect(textToImage.steps).toBe(6);
    const bytes = await (await fetch(images[0].url)).arrayBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ width: 48, height: 32 });
  });

  test("draws at the speed that is asked for, and says what there is to choose from", async () => {
    const { presets } = await app.member.query("{ presets { imageEdit { speeds { speed description } } } }");
    expect(presets[0].imageEdit.speeds).toEqual(
      ["EXACT", "FAST", "FASTER"].map((speed) => ({ speed, description: expect.stringMatching(/^[A-Z].+\.$/) })),
    );
    const draw = async (speed: string): Promise<{ sha256: string; steps: number[] }> => {
      const id = await app.member.create({ prompt: "a red circle", seed: "1", speed });
      const steps: number[] = [];
      for await (const event of app.member.events(id)) if (event.__typename === "ProgressEvent") steps.push(event.step);
      const { textToImage, images, creditsCharged } = await app.member.generation(id);
      expect(textToImage.speed).toBe(speed);
      expect(creditsCharged).toBe(String((side * side * offer.defaultSteps) / 1e6));
      return { sha256: images[0].sha256, steps };
    };
    const [exact, faster] = [await draw("EXACT"), await draw("FASTER")];
    expect(faster.sha256).not.toBe(exact.sha256);
    expect(faster.steps.at(-1)).toBe(offer.defaultSteps);
  });

  test("draws the same picture for the same seed, and another one for another", async () => {
    const draw = async (seed: string): Promise<string> => {
      const id = await app.member.create({ prompt: "a blue square at the center", seed, steps: 6 });
      return (await app.member.finished(id)).generation.images[0].sha256;
    };
    expect(await draw("5")).toBe(await draw("5"));
    expect(await draw("6")).not.toBe(await draw("5"));
  });

  test("draws several pictures at once, with variants of each", async () => {
    const id = await app.member.create({ prompt: "a green star", count: 3, steps: 4 });
    const { generation } = await app.member.finished(id);
    expect(new Set(generation.images.map(({ sha256 }: { sha256: string }) => sha256)).size).toBe(3);
    const { generation: full } = await app.member.query(
      "query($id: ID!) { generation(id: $id) { images { index small: url(variant: W256) medium: url(variant: W512, expiresInSeconds: 10) } } }",
      { id },
    );
    expect(full.images.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2]);
    for (const { small, medium } of full.images) {
      for (const url of [small, medium]) {
        expect(await sharp(Buffer.from(await (await fetch(url)).arrayBuffer())).metadata()).toMatchObject({
          format: "webp",
          width: Math.min(side, 256),
        });
      }
    }
  });

  test("draws what waits together, each with the picture that it has alone, also when one of them is cancelled", async () => {
    const requests = ["a red circle", "two stars", "a blue square"].map((prompt, i) => ({ prompt, seed: `${i}` }));
    const all = [...requests, { prompt: "a heart" }, { prompt: "a heart", speed: "FAST" }];
    const created = await createTogether(app.owner, () => Promise.all(all.map((each) => app.member.create(each))));
    const [ids, cancelled, other] = [created.slice(0, 3), created[3]!, created[4]!];
    for await (const event of app.member.events(cancelled)) if (event.step >= 2) break;
    await app.member.query(CANCEL, { id: cancelled });
    expect((await app.member.finished(cancelled)).state).toBe("CANCELED");
    for (const [i, id] of ids.entries()) {
      await app.member.finished(id);
      const together = await app.member.generation(id);
      expect([together.state, together.recipe.groupSize]).toEqual(["SUCCEEDED", 4]);
      const alone = await app.member.finished(await app.member.create(requests[i]!));
      await expectSamePicture(await pictureOf(together), await pictureOf(alone.generation));
    }
    expect((await app.member.finished(other)).state).toBe("SUCCEEDED");
    expect((await app.member.generation(other)).recipe.groupSize).toBe(1);
    await expectBalancedLedger(app.db);
  });

  test("cancels a running generation between two steps and charges what was computed", async () => {
    const id = await app.member.create({ prompt: "a red circle", count: offer.maxCount, steps: offer.maxSteps });
    for await (const event of app.member.events(id)) if (event.step >= 2) break;
    await app.member.query("mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { message } } }", { id });
    const { state, generation } = await app.member.finished(id);
    expect(state).toBe("CANCELED");
    expect(generation.images).toEqual([]);
    expect(Number(generation.creditsCharged)).toBeGreaterThan(0);
    expect(Number(generation.creditsCharged)).toBeLessThan((side * side * offer.maxCount * offer.maxSteps) / 1e6);
    await expectBalancedLedger(app.db);
  });

  test.each(["a frame", "a milestone", "nothing"])(
    "goes on after a cut in mid-run behind %s: no milestone is lost or repeated",
    async (last) => {
      const id = await app.member.create({ prompt: "a red circle", count: offer.maxCount, steps: offer.maxSteps });
      let afterSeq = 0;
      const before: string[] = [];
      for await (const event of app.member.events(id)) {
        if (event.__typename !== "ProgressEvent" && event.__typename !== "PreviewEvent")
          before.push(`${event.__typename} ${event.seq}`);
        if (last === "a milestone" && event.__typename === "StartedEvent") afterSeq = event.seq;
        if (event.step >= 3) {
          if (last === "a frame") afterSeq = event.seq;
          break; // the socket is closed
        }
      }
      const after: string[] = [];
      const frames: number[] = [];
      for await (const event of app.member.events(id, afterSeq)) {
        if (event.__typename === "ProgressEvent") frames.push(event.step);
        else if (event.__typename !== "PreviewEvent") after.push(`${event.__typename} ${event.seq}`);
      }
      expect(before).toEqual(["QueuedEvent 1", "StartedEvent 2"]);
      expect(after).toEqual(
        last === "nothing" ? ["QueuedEvent 1", "StartedEvent 2", "FinishedEvent 3"] : ["FinishedEvent 3"],
      );
      expect(frames.at(-1)).toBe(offer.maxSteps);
    },
  );

  test("names the build that draws, and refuses what it does not offer", async () => {
    const { presets } = await app.member.query("{ presets { name buildDigest } }");
    expect(presets).toEqual([{ name: "tiny", buildDigest: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
    const { createGeneration } = await app.member.query(CREATE, {
      input: newInput({ prompt: "x", steps: offer.maxSteps + 1 }),
    });
    expect(createGeneration.userErrors[0].message).toContain(`this preset allows 1 to ${offer.maxSteps}`);
  });
});

/** The mean colour of the top left third of the picture is clearly red. */
async function redAtTopLeft(png: Buffer): Promise<boolean> {
  const { channels } = await sharp(
    await sharp(png).extract({ left: 0, top: 0, width: 32, height: 32 }).toBuffer(),
  ).stats();
  const [red, green, blue] = channels.map(({ mean }) => mean) as [number, number, number];
  return red - Math.max(green, blue) > 40;
}
