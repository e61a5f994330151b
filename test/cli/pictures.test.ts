import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { Command, runCommand } from "./command.ts";

const drawn = (background: string, side = 96): Promise<Buffer> =>
  sharp({ create: { width: side, height: side, channels: 3, background } })
    .png()
    .toBuffer();
/** The colour of an encoded picture of one colour. */
const colorOf = async (picture: Uint8Array): Promise<readonly number[]> =>
  (await sharp(picture).stats()).channels.slice(0, 3).map(({ mean }) => Math.round(mean));

describe("commands that start from a picture", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let folder: string;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "atelier-cli-"));
    writeFileSync(join(folder, "blue.png"), await drawn("blue"));
    writeFileSync(join(folder, "white.png"), await drawn("white"));
    return () => rmSync(folder, { recursive: true, force: true });
  });

  const options = () => ({ cwd: folder, environment: { DATA_DIR: app.dataDir } });
  const start = (...args: string[]) => new Command(args, options());
  const counts = () =>
    app.db.transaction(asPlatform, async (tx) => [await tx.upload.count(), await tx.generation.count()]);
  const newestId = async (): Promise<string> =>
    (await app.member.query("{ generations(first: 1) { nodes { id } } }")).generations.nodes[0].id;

  describe("edit", () => {
    test("sends picture and mask, and writes what was drawn", async () => {
      const command = start(
        ...["edit", "blue.png", "make it red", "--mask", "white.png", "--out", "red.png", "--seed", "7"],
      );
      const call = await worker.nextCall();
      const task = call.request.task!;
      if (task.$case !== "imageEdit") throw new Error(`it is ${task.$case}`);
      expect(task.value.instruction).toBe("make it red");
      expect(call.drawing.seed).toBe(7n);
      expect([await colorOf(task.value.source), await colorOf(task.value.mask)]).toEqual([
        [0, 0, 255],
        [255, 255, 255],
      ]);
      await call.started().succeed();
      expect(await command.ended()).toBe(0);
      expect(command.output).toBe(
        `queued ${await newestId()}\nwrote ${join(folder, "red.png")} (seed 7, 0.165888 credits)\n`,
      );
      expect(await colorOf(await sharp(join(folder, "red.png")).toBuffer())).toEqual([255, 0, 0]);
    });

    test("starts from a picture that the server has, and is fetched later", async () => {
      const first = start("generate", "a red square", "--out", "red.png");
      await (await worker.nextCall()).started().succeed();
      await first.ended();
      const { images } = await app.member.generation(await newestId());
      const uploads = (await counts())[0];
      const command = start("edit", images[0].id, "make it blue", "--out", "a.png", "--count", "2");
      const call = await worker.nextCall();
      const task = call.request.task!;
      expect(task.$case === "imageEdit" && (await colorOf(task.value.source))).toEqual([255, 0, 0]);
      await call.started().succeed();
      expect(await command.ended()).toBe(0);
      expect((await counts())[0]).toBe(uploads);
      const { code, output } = await runCommand(["edit", "--resume", await newestId(), "--out", "b.png"], options());
      expect([code, output]).toEqual([0, expect.stringMatching(/b\.png\nwrote .*b-2\.png \(seed \d+, 0\.331776 cr/)]);
    });
  });

  test("vary draws pictures like the given one", async () => {
    const command = start("vary", "blue.png", "--strength", "0.5", "--prompt", "a square", "--out", "other.png");
    const call = await worker.nextCall();
    expect(call.request.task).toMatchObject({
      $case: "imageVariation",
      value: { strength: 0.5, prompt: "a square", drawing: { count: 1 } },
    });
    await call.started().succeed();
    expect(await command.ended()).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(["blue.png", "other.png", "white.png"]);
  });

  describe("describe", () => {
    test("writes the words as they come, and nothing else, to the standard output", async () => {
      const command = start("describe", "blue.png", "What colour is it?", "--max-tokens", "9");
      const call = await worker.nextCall();
      expect(call.request.task).toMatchObject({
        $case: "imageToText",
        value: { question: "What colour is it?", maxTokens: 9 },
      });
      call.started().words(2, { offset: 0, text: "It is" });
      await expect.poll(() => command.standardOutput).toBe("It is");
      await call.words(4, { offset: 5, text: " blue. 🌟" }).succeed();
      expect(await command.ended()).toBe(0);
      expect(command.standardOutput).toBe("It is blue. 🌟\n");
      expect(command.output).toContain(`queued ${await newestId()}\n`);
      expect(command.output).toMatch(/answered \(0\.\d+ credits\)\n$/);
    });

    test("goes on behind its words when another attempt says them again", async () => {
      const command = start("describe", "blue.png");
      const first = await worker.nextCall();
      first.started().words(2, { offset: 0, text: "A blue" });
      await expect.poll(() => command.standardOutput).toBe("A blue");
      first.yielded();
      const second = await worker.nextCall();
      await second.started().words(3, { offset: 0, text: "A blue square." }).succeed();
      expect(await command.ended()).toBe(0);
      expect(command.standardOutput).toBe("A blue square.\n");
      const { output } = await runCommand(["describe", "--resume", await newestId()], options());
      expect(output).toMatch(/^A blue square\.\nanswered \(/);
    });

    test("is canceled by an interruption", async () => {
      const command = start("describe", "blue.png");
      const call = await worker.nextCall();
      call.started().words(2, { offset: 0, text: "A blue" });
      await expect.poll(() => command.standardOutput).toBe("A blue");
      command.kill("SIGINT");
      await call.hungUp;
      expect(await command.ended()).toBe(130);
      expect(command.standardOutput).toBe("A blue\n");
      expect(command.output).toContain(`cancelled ${await newestId()} (`);
    });
  });

  describe("refuse, before anything is sent,", () => {
    test.each<[string, readonly string[], string]>([
      [
        "a file that is not there",
        ["describe", "there.png"],
        "There is no file there.png. Check the name, or name another file.",
      ],
      ["a folder", ["vary", "folder", "--out", "a.png"], "folder is a folder. Name a file in it."],
      [
        "an empty file",
        ["edit", "blue.png", "make it red", "--mask", "empty.png", "--out", "a.png"],
        "empty.png is empty. Name another file.",
      ],
      [
        "a file that cannot be read",
        ["describe", "blue.png/at/all"],
        "blue.png/at/all cannot be read: not a directory. Check the name, or name another file.",
      ],
    ])("%s", async (_, args, message) => {
      mkdirSync(join(folder, "folder"));
      writeFileSync(join(folder, "empty.png"), "");
      const before = await counts();
      expect(await runCommand(args, options())).toEqual({ code: 1, output: `atelier: ${message}\n` });
      expect(await counts()).toEqual(before);
    });

    test("a file that is too large", async () => {
      truncateSync(join(folder, "blue.png"), 20_000_001);
      const before = await counts();
      const { code, output } = await runCommand(["describe", "blue.png"], options());
      expect(output).toBe("atelier: blue.png was refused: The file has 20000001 bytes; 1 to 20000000 are taken.\n");
      expect([code, await counts()]).toEqual([1, before]);
    });
  });

  test("say what the server refuses of a file", async () => {
    writeFileSync(join(folder, "blue.png"), "no picture");
    const { code, output } = await runCommand(["vary", "blue.png", "--out", "a.png"], options());
    expect([code, output]).toEqual([1, expect.stringMatching(/^atelier: blue\.png was refused: .*\n$/)]);
  });

  test("say what belongs to them", async () => {
    const outputOf = async (...args: string[]) => (await runCommand(args, options())).output;
    expect(await outputOf("edit", "blue.png", "--out", "a.png")).toContain(
      "Name a picture and say what to change: edit ",
    );
    expect(await outputOf("vary", "--out", "a.png")).toContain("Name a picture: vary ");
    expect(await outputOf("describe")).toContain("Name a picture: describe ");
    expect(await outputOf("vary", "blue.png", "--resume", "gen_x", "--out", "a.png")).toContain("but not both.");
  });
});

test("a file is sent again when the connection is lost in the middle", async () => {
  const folder = mkdtempSync(join(tmpdir(), "atelier-cli-"));
  const picture = Buffer.concat([await drawn("blue"), Buffer.alloc(5_000_000)]);
  writeFileSync(join(folder, "large.png"), picture);
  const worker = new FakeWorker();
  const relay = new CuttingRelay();
  const PUBLIC_URL = await relay.listen();
  const app = await createTestApp({ workers: worker }, { PUBLIC_URL, PORT: String(relay.port) });
  const command = new Command(["describe", "large.png"], { cwd: folder, environment: { DATA_DIR: app.dataDir } });
  await (await worker.nextCall()).started().words(1, { offset: 0, text: "Blue." }).succeed();
  expect(await command.ended()).toBe(0);
  expect(command.standardOutput).toBe("Blue.\n");
  expect(relay.cuts).toBe(2);
  expect(command.output).toMatch(/^lost the server \(.*\), trying again for 60 s …\nqueued /);
  const uploads = await app.db.transaction(asPlatform, (tx) => tx.upload.findMany());
  expect(uploads).toMatchObject([{ status: "READY", sizeBytes: picture.length }]);
  relay.close();
  await app.stop();
  rmSync(folder, { recursive: true });
});

/** Passes connections on to a port of its own, and cuts the first two off that send a megabyte. */
class CuttingRelay {
  cuts = 0;
  /** Of the server behind it. */
  port = 0;
  private readonly server = createServer((client) => this.pass(client));

  /** @returns its address */
  async listen(): Promise<string> {
    const free = createServer();
    this.port = await portOf(free);
    await new Promise((resolve) => free.close(resolve));
    return `http://127.0.0.1:${await portOf(this.server)}`;
  }

  close(): void {
    this.server.close();
  }

  private pass(client: Socket): void {
    const behind = connect(this.port, "127.0.0.1");
    let received = 0;
    client.on("data", (bytes: Buffer) => {
      received += bytes.length;
      if (received < 1_000_000 || this.cuts === 2) return void behind.write(bytes);
      this.cuts++;
      received = 0;
      client.resetAndDestroy();
    });
    behind.on("data", (bytes: Buffer) => void client.write(bytes));
    client.on("error", () => {}).on("close", () => behind.destroy());
    behind.on("error", () => {}).on("close", () => client.destroy());
  }
}

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}
