import { cpSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { ServerProcess } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { canMount, mountSmallDisk, type SmallDisk } from "../support/small-disk.ts";
import { createTestApp } from "../support/test-app.ts";
import { createUpload, finishUpload, send, sha256Of } from "../support/uploads.ts";

if (!canMount) test.skip("a full disk: no disk may be mounted here", () => {});

describe.runIf(canMount)("when the disk of a server is full", () => {
  let disk: SmallDisk;
  let dataDir: string;

  beforeEach(() => {
    disk = mountSmallDisk(400);
    dataDir = join(disk.path, "data");
    cpSync(inject("templateData"), dataDir, { recursive: true, preserveTimestamps: true });
  });
  afterEach(() => disk.remove());

  test("files are refused, pictures wait without being drawn for nothing, and both go on when there is room", async () => {
    const worker = new FakeWorker();
    const app = await createTestApp({ workers: worker }, { DATA_DIR: dataDir });
    const picture = await sharp({ create: { width: 32, height: 32, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    const target = await createUpload(app.member, "PICTURE");
    const drawn = await app.member.create({ prompt: "drawn when the disk fills up" });
    const call = (await worker.nextCall()).started().checkpoint(17);
    disk.fill();
    await call.succeed();
    const unsent = await app.member.create({ prompt: "asked for when it was full" });
    const attempts = async (id: string) => (await app.member.generation(id)).attempts;
    for (const [id, stepsDone] of [
      [drawn, 17],
      [unsent, 0],
    ] as const) {
      await expect
        .poll(() => attempts(id))
        .toMatchObject([
          {
            outcome: "RETURNED",
            failureClass: "SERVER",
            stepsDone,
            message: "The server could not store its result. It tries again by itself; nothing is lost.",
          },
        ]);
    }
    const refused = await send(target, picture);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await refused.text()).toBe(
      "The server has no room for files. Try again later: its operator has to make room.\n",
    );

    disk.makeRoom();
    expect((await send(target, picture)).status).toBe(204);
    expect((await finishUpload(app.member, target.uploadId, sha256Of(picture))).upload.status).toBe("READY");
    await app.db.transaction(asPlatform, (tx) => tx.$executeRaw`update generation set not_before = null`);
    for (let i = 0; i < 2; i++) {
      const next = await worker.nextCall();
      const { stepsDone } = next.request.resumeFrom ?? { stepsDone: 0 };
      expect([next.prompt, stepsDone]).toEqual(
        next.prompt.startsWith("drawn") ? ["drawn when the disk fills up", 17] : ["asked for when it was full", 0],
      );
      await next.started(stepsDone).succeed();
    }
    for (const id of [drawn, unsent]) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    await expectBalancedLedger(app.db);
    await app.stop();
  });

  slowTest(
    "what cannot be written down is refused, the log says so once, and a killed server loses nothing of what it acknowledged",
    async () => {
      let server = await ServerProcess.start(dataDir);
      disk.fill();
      const acknowledged: string[] = [];
      let refusals: any[] = [];
      while (refusals.length < 20) {
        const prompt = Array.from({ length: 200 }, () => Math.random().toString(36))
          .join(" ")
          .slice(0, 1900);
        const answers = await Promise.all(
          Array.from({ length: 10 }, () => server.client.send(CREATE, { input: newInput({ prompt, steps: 1 }) })),
        );
        const payloads = answers.map(({ data }) => data.createGeneration);
        acknowledged.push(...payloads.flatMap(({ generation }) => generation?.id ?? []));
        refusals = [...refusals, ...payloads.flatMap(({ userErrors }) => userErrors)];
      }
      expect(new Set(refusals.map(({ code, retryable }) => `${code} ${retryable}`))).toEqual(
        new Set(["UNAVAILABLE true"]),
      );
      expect(refusals[0].message).toBe(
        "The server has no room to store this. Try again later: its operator has to make room.",
      );
      const errors = server.log.split("\n").filter((line) => line.startsWith('{"level":50'));
      const messages = errors.map((line) => JSON.parse(line)).filter(({ msg }) => msg !== "duty failed");
      const told = messages.map(({ msg }) => msg).sort();
      expect(told).toEqual([...new Set(told)]);
      expect(errors.length).toBeLessThan(20);

      await server.end("SIGKILL");
      disk.makeRoom();
      server = await ServerProcess.start(dataDir);
      for (const id of acknowledged) expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
      expect(await server.end("SIGTERM")).toBe(0);
      const db = await Database.open(await openEmbeddedDatabase(lockFolder(dataDir)), "prisma/migrations");
      await expectBalancedLedger(db);
      await db.close();
    },
    180_000,
  );
});
