import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { S3Server } from "../support/s3-server.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const LINKS = "query($id: ID!) { generation(id: $id) { images { id url } } }";
const RETURNED = {
  outcome: "RETURNED",
  failureClass: "SERVER",
  message: "The server could not store its result. It tries again by itself; nothing is lost.",
};

const pictureOf = async (app: TestApp, id: string): Promise<{ id: string; url: string }> =>
  (await app.member.query(LINKS, { id })).generation.images[0];

describe("when the storage service", () => {
  let server: S3Server;
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    server = await new S3Server().start();
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, server.environment);
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(async () => {
    await app.stop();
    await server.stop();
  });

  const attempts = async (id: string) => (await app.member.generation(id)).attempts;
  const endPauses = () =>
    app.db.transaction(asPlatform, (tx) => tx.$executeRaw`update generation set not_before = null`);

  test("breaks connections in the middle of pictures, they are sent again, and read again", async () => {
    server.cuts.requests = 2;
    const id = await app.member.create({ prompt: "sent three times" });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await attempts(id)).toMatchObject([{ outcome: "SUCCEEDED" }]);
    expect(server.cuts.requests).toBe(0);

    const { id: imageId, url } = await pictureOf(app, id);
    server.cuts.answers = 1;
    const download = fetch(url).then((response) => response.arrayBuffer());
    await expect(download).rejects.toThrow(); // not a part that looks like the whole
    expect((await fetch(url)).status).toBe(200);
    server.cuts.answers = 2;
    const task = { imageVariation: { image: { imageId }, strength: 0.5 } };
    const variation = await app.member.createTask(task);
    const call = await worker.nextCall();
    expect(server.cuts.answers).toBe(0);
    await call.started().succeed();
    expect((await app.member.finished(variation)).state).toBe("SUCCEEDED");
  });

  test("is slow, nothing is done twice", async () => {
    server.delayMs = 300;
    const before = server.requests.length;
    const id = await app.member.create({ prompt: "stored slowly" });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    server.delayMs = 0;
    expect(await attempts(id)).toMatchObject([{ outcome: "SUCCEEDED" }]);
    expect(server.requests.slice(before).filter((request) => request.startsWith("PUT"))).toHaveLength(3);
  });

  test("hangs, its attempts give their slot back, nothing is drawn meanwhile, and all of it is stored later", async () => {
    server.isSilent = true;
    const id = await app.member.create({ prompt: "drawn before" });
    const events = app.member.events(id);
    const call = (await worker.nextCall()).started().checkpoint(17);
    await call.succeed();
    await expect.poll(() => attempts(id)).toMatchObject([RETURNED]);
    const next = await app.member.create({ prompt: "asked for meanwhile" });
    await expect.poll(() => attempts(next)).toMatchObject([RETURNED]);
    expect((await attempts(next))[0].stepsDone).toBe(0);

    server.isSilent = false;
    await endPauses();
    const calls = [await worker.nextCall()];
    await calls[0]!.started(calls[0]!.request.resumeFrom?.stepsDone ?? 0).succeed();
    calls.push(await worker.nextCall());
    await calls[1]!.started(calls[1]!.request.resumeFrom?.stepsDone ?? 0).succeed();
    expect(calls.map(({ prompt }) => prompt).sort()).toEqual(["asked for meanwhile", "drawn before"]);
    expect(calls.find(({ prompt }) => prompt === "drawn before")?.request.resumeFrom?.stepsDone).toBe(17);
    for (const each of [id, next]) {
      expect((await app.member.finished(each)).state).toBe("SUCCEEDED");
      expect((await fetch((await pictureOf(app, each)).url)).status).toBe(200);
    }
    const milestones: string[] = [];
    for await (const { __typename, seq, failure } of events)
      if (!/Progress|Preview/.test(__typename))
        milestones.push(`${seq} ${__typename} ${failure?.message ?? ""}`.trim());
    expect(milestones).toEqual([
      "1 QueuedEvent",
      "2 StartedEvent",
      "3 QueuedEvent",
      "4 StartedEvent",
      "5 FinishedEvent",
    ]);
  });
});

test("links answer 503 while the disk refuses to read, and do not say that the picture was deleted", async () => {
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker });
  onTestFinished(() => app.stop());
  const id = await app.member.create({ prompt: "on a disk that goes away" });
  await (await worker.nextCall()).started().succeed();
  await app.member.finished(id);
  const { url } = await pictureOf(app, id);
  expect((await fetch(url)).status).toBe(200);
  const folder = new URL(url).pathname.replace("/files/", "").split("/").slice(0, 3).join("/");
  const place = join(app.dataDir, "images", folder);
  rmSync(place, { recursive: true });
  writeFileSync(place, "no folder");
  const refused = await fetch(url);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await refused.text()).toBe("Stored files cannot be reached at the moment. Try again in a few seconds.\n");
});
