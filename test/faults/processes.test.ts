import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { isRunning, ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { until } from "../support/until.ts";

/** Long enough to be interrupted, and to leave a periodic checkpoint out of the game. */
const LONG = { prompt: "a red circle at the top left", count: 4, steps: 36, seed: "3" };

describe("when processes die", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: ServerProcess;
  /** What LONG gives when nothing happens. */
  let undisturbed: readonly string[];

  const start = () => ServerProcess.start(folder.path, { SHUTDOWN_GRACE_SECONDS: "0" });
  beforeAll(async () => {
    folder = temporaryFolder(inject("templateData"));
    server = await start();
    undisturbed = hashes((await server.client.finished(await server.client.create(LONG))).generation.images);
  });
  afterEach(async () => {
    if (!isRunning(server.pid)) server = await start();
  });
  afterAll(async () => {
    await server.end("SIGTERM");
    const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder.path)), "prisma/migrations");
    await expectBalancedLedger(db);
    await db.close();
    folder.remove();
  });

  const hashes = (images: any[]): string[] => images.map(({ sha256 }) => sha256);
  const untilStep = async (id: string, step: number): Promise<void> => {
    for await (const event of server.client.events(id)) if (event.step >= step) return;
  };
  const untilGone = (pid: number): Promise<void> => until(() => expect(isRunning(pid)).toBe(false));

  test("a worker killed in mid-run is replaced, and another attempt finishes the generation from the newest checkpoint", async () => {
    const id = await server.client.create(LONG);
    await until(async () =>
      expect((await server.client.generation(id)).attempts[0]?.checkpointSteps).toBeGreaterThan(0),
    );
    process.kill(server.workerPids.at(-1)!, "SIGKILL");
    const secondAttempt: number[] = [];
    for await (const event of server.client.events(id, 2)) {
      if (event.__typename === "ProgressEvent" && event.attempt === 2) secondAttempt.push(event.step);
    }
    const { attempts, seq, state, images } = await server.client.generation(id);
    expect(state).toBe("SUCCEEDED");
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["FAILED", "SUCCEEDED"]);
    expect(secondAttempt[0]).toBeGreaterThanOrEqual(attempts[0].checkpointSteps);
    expect(hashes(images)).toEqual(undisturbed);
    expect(seq).toBe(5); // Queued, Started, AttemptFailed, Started, Finished
  });

  slowTest(
    "a worker killed in the middle of an answer is replaced, and another attempt finishes the sentence",
    async () => {
      const picture = await server.client.finished(await server.client.create({ prompt: "a red circle", seed: "1" }));
      const image = { imageId: picture.generation.images[0].id };
      // So hot that it does not stop for long.
      const task = { imageToText: { image, question: "What is it?", maxTokens: 450, temperature: 10, seed: "4" } };
      const whole = await server.client.createTask(task);
      await server.client.finished(whole);
      const id = await server.client.createTask(task);
      for await (const { __typename } of server.client.events(id)) if (__typename === "TextDeltaEvent") break;
      process.kill(server.workerPids.at(-1)!, "SIGKILL");
      await server.client.finished(id);
      const { attempts, answer, state } = await server.client.generation(id);
      expect(state).toBe("SUCCEEDED");
      expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["FAILED", "SUCCEEDED"]);
      expect(answer).toBe((await server.client.generation(whole)).answer);
      expect(answer.length).toBeGreaterThan(100);
    },
  );

  slowTest("a worker that freezes in mid-run is replaced, and another attempt finishes the generation", async () => {
    const id = await server.client.create(LONG);
    await untilStep(id, 3);
    const frozen = server.workerPids.at(-1)!;
    process.kill(frozen, "SIGSTOP");
    expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
    await untilGone(frozen);
    const { attempts } = await server.client.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["FAILED", "SUCCEEDED"]);
  });

  test("a worker told to stop in mid-run hands its attempt back, and the next one starts at the following step", async () => {
    const id = await server.client.create(LONG);
    await untilStep(id, 3);
    process.kill(server.workerPids.at(-1)!, "SIGTERM");
    const { state, generation } = await server.client.finished(id);
    expect(state).toBe("SUCCEEDED");
    const { attempts } = await server.client.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["YIELDED", "SUCCEEDED"]);
    expect(attempts[0].checkpointSteps).toBe(attempts[0].stepsDone);
    expect(attempts[0].stepsDone).toBeGreaterThanOrEqual(3);
    expect(hashes(generation.images)).toEqual(undisturbed);
  });

  test("a server killed in mid-run leaves no process behind, and the next start finishes the generation", async () => {
    const running = await server.client.create(LONG);
    const queued = await server.client.create({ prompt: "a blue square", steps: 4 });
    await untilStep(running, 2);
    await server.end("SIGKILL");
    await untilGone(server.workerPids.at(-1)!);
    server = await start();
    expect((await server.client.finished(running)).state).toBe("SUCCEEDED");
    expect((await server.client.finished(queued)).state).toBe("SUCCEEDED");
    const { attempts } = await server.client.generation(running);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["ORPHANED", "SUCCEEDED"]);
  });

  slowTest(
    "a server told to stop lets its attempt yield, ends with 0, and goes on from the checkpoint at the next start",
    async () => {
      const id = await server.client.create(LONG);
      await untilStep(id, 2);
      const worker = server.workerPids.at(-1);
      expect(await server.end("SIGTERM")).toBe(0);
      expect(isRunning(worker!)).toBe(false);
      server = await start();
      expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
      const { attempts } = await server.client.generation(id);
      expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["YIELDED", "SUCCEEDED"]);
      expect(attempts[0].checkpointSteps).toBeGreaterThanOrEqual(2);
    },
  );

  test("a second server on the same data folder is refused with clear words, and the first goes on", async () => {
    const second = ServerProcess.launch(folder.path);
    expect(await second.ended()).toBe(1);
    expect(second.log.trim()).toBe(
      `atelier: ${folder.path} is in use by process ${server.pid}. Stop that server first, or set DATA_DIR to another folder.`,
    );
    expect((await server.client.query("{ viewer { role } }")).viewer.role).toBe("MEMBER");
  });

  slowTest("a port in use is refused with clear words, and the data folder is free again", async () => {
    const other = temporaryFolder(inject("templateData"));
    const port = new URL(server.client.url).port;
    const second = ServerProcess.launch(other.path, { PORT: port });
    expect(await second.ended()).toBe(1);
    expect(second.log.trim()).toBe(
      `atelier: Port ${port} is in use. Stop the other program, or choose another port: PORT=${Number(port) + 1} npm start`,
    );
    const third = await ServerProcess.start(other.path);
    expect(await third.end("SIGINT")).toBe(0);
    other.remove();
  });

  slowTest("the credentials file is private, and a lost one is replaced by keys that work", async () => {
    const file = join(folder.path, "credentials.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder.path, "secrets.json")).mode & 0o777).toBe(0o600);
    const old = server.client;
    await server.end("SIGTERM");
    rmSync(file);
    server = await start();
    expect(JSON.parse(readFileSync(file, "utf8")).apiKey).not.toBe(old.apiKey);
    expect(
      (await server.client.query("{ viewer { tenant { credits { granted } } } }")).viewer.tenant.credits.granted,
    ).toBe("1000000");
  });
});
