import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Speed } from "../../proto/gen/inference/v1/inference.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { Command, runCommand } from "./command.ts";

/** 96 x 96 pixels, 18 steps. */
const CREDITS = "0.165888";

describe("generate", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let folder: string;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "atelier-cli-"));
    return () => rmSync(folder, { recursive: true, force: true });
  });

  const options = () => ({ cwd: folder, environment: { DATA_DIR: app.dataDir } });
  const generate = (...args: string[]) => new Command(["generate", ...args], options());
  const newestId = async (): Promise<string | undefined> =>
    (await app.member.query("{ generations(first: 1) { nodes { id } } }")).generations.nodes[0]?.id;

  test("writes the picture and says where, with which seed, and what it cost", async () => {
    const command = generate("a red circle", "--out", "circle.png", "--seed", "7");
    await (await worker.nextCall()).started().step(1).succeed();
    expect(await command.ended()).toBe(0);
    const file = join(folder, "circle.png");
    expect(command.output).toBe(`queued ${await newestId()}\nwrote ${file} (seed 7, ${CREDITS} credits)\n`);
    expect(await sharp(file).metadata()).toMatchObject({ format: "png", width: 96 });
    expect(readdirSync(folder)).toEqual(["circle.png"]);
  });

  test("writes nothing but plain text where there is no terminal", async () => {
    const command = generate("a red circle", "--out", "circle.png");
    await (await worker.nextCall()).started().step(1).step(2).succeed();
    await command.ended();
    expect(command.output).toMatch(/^[\x20-\x7e\n]+$/);
  });

  test("numbers several pictures", async () => {
    const command = generate("a red circle", "--out", "circle.png", "--count", "3");
    await (await worker.nextCall()).started().succeed();
    expect(await command.ended()).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(["circle-2.png", "circle-3.png", "circle.png"]);
  });

  test("asks for what the options say", async () => {
    const settings = ["--width", "96", "--height", "96", "--steps", "4", "--temperature", "0.5"];
    const guidance = ["--guidance-scale", "2", "--unconditional-prompt", "a mess", "--speed", "fast"];
    const command = generate("a red circle", "--out", "circle.png", ...settings, ...guidance);
    const call = await worker.nextCall();
    expect(call.request.task!.value).toMatchObject({
      prompt: "a red circle",
      drawing: { unconditionalPrompt: "a mess", steps: 4, temperature: 0.5, guidanceScale: 2, speed: Speed.FAST },
    });
    await call.started().succeed();
    expect(await command.ended()).toBe(0);
  });

  test("takes --out from the folder in which npm was called", async () => {
    mkdirSync(join(folder, "docs"));
    const npm = { npm_lifecycle_event: "atelier", INIT_CWD: join(folder, "docs"), DATA_DIR: app.dataDir };
    const command = new Command(["generate", "a red circle", "--out", "circle.png"], { environment: npm });
    await (await worker.nextCall()).started().succeed();
    expect(await command.ended()).toBe(0);
    expect(command.output).toContain(`wrote ${join(folder, "docs/circle.png")} `);
    expect(readdirSync(join(folder, "docs"))).toEqual(["circle.png"]);
  });

  test.each([
    ["an empty name", "", "--out is empty. Name a file, such as --out picture.png"],
    ["a folder", "pictures", "--out pictures is a folder. Name a file in it, such as --out pictures/picture.png"],
    ["a missing folder", "nowhere/a.png", "there is no folder"],
    ["a file in the place of a folder", "file/a.png", "file is not a folder. Name another one."],
    ["a folder that cannot be written", "/proc/a.png", "/proc/a.png cannot be written: "],
    ["another format", "a.webp", "pictures are PNG files. Choose a name that ends in .png, such as a.png"],
    ["a second picture in the place of a folder", "a.png", "a-2.png, which is a folder. Choose another --out."],
  ])("refuses %s before anything is paid", async (_, out, message) => {
    mkdirSync(join(folder, "pictures"));
    mkdirSync(join(folder, "a-2.png"));
    writeFileSync(join(folder, "file"), "");
    const before = await newestId();
    const { code, output } = await runCommand(["generate", "a red circle", "--out", out, "--count", "2"], options());
    expect(output).toMatch(/^atelier: .*\n$/);
    expect(output).toContain(message);
    expect(code).toBe(1);
    expect(readdirSync(folder)).toEqual(["a-2.png", "file", "pictures"]);
    expect(await newestId()).toBe(before);
  });

  test("says where a picture is that could not be written, and fetches it later", async () => {
    mkdirSync(join(folder, "gone"));
    const command = generate("a red circle", "--out", "gone/circle.png");
    const call = await worker.nextCall();
    rmSync(join(folder, "gone"), { recursive: true });
    await call.started().succeed();
    expect(await command.ended()).toBe(1);
    const id = await newestId();
    expect(command.output).toContain(
      `${join(folder, "gone/circle.png")} cannot be written: no such file or directory.`,
    );
    expect(command.output).toContain(`npm run atelier -- generate --resume ${id} --out gone/circle.png`);
    const [link] = /http:\S+\/files\/\S+/.exec(command.output)!;
    const picture = Buffer.from(await (await fetch(link)).arrayBuffer());

    const { code, output } = await runCommand(["generate", "--resume", id!, "--out", "again.png"], options());
    expect(output).toContain(`wrote ${join(folder, "again.png")} `);
    expect(code).toBe(0);
    expect(readFileSync(join(folder, "again.png"))).toEqual(picture);
    expect(readdirSync(folder)).toEqual(["again.png"]);
  });

  test("draws what ended once more, with the same settings and seed", async () => {
    const id = await app.member.create({ prompt: "a red circle", seed: "7", count: 2 });
    await (await worker.nextCall()).started().succeed();
    await app.member.finished(id);
    const command = new Command(["replay", id, "--out", "again.png"], options());
    const call = (await worker.nextCall()).started();
    expect(call.request).toMatchObject({ task: { value: { prompt: "a red circle", drawing: { seed: 7n } } } });
    await call.succeed();
    expect(await command.ended()).toBe(0);
    expect(command.output).toMatch(/^queued gen_/);
    expect(command.output).toContain("(seed 7, ");
    expect(readdirSync(folder)).toEqual(["again-2.png", "again.png"]);
    const again = await runCommand(["replay", "gen_nothing", "--out", "never.png"], options());
    expect(again.code).toBe(1);
    expect(again.output).toContain("There is no generation");
  });

  test("says how a generation without pictures ended", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const call = await worker.nextCall();
    await app.member.query("mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { message } } }", { id });
    await call.hungUp;
    const { code, output } = await runCommand(["generate", "--resume", id, "--out", "circle.png"], options());
    expect(output).toContain(`atelier: ${id} ended as CANCELED.`);
    expect(code).toBe(1);
  });

  test("knows no generation of another name", async () => {
    const { code, output } = await runCommand(["generate", "--resume", "gen_none", "--out", "a.png"], options());
    expect(output).toContain("gen_none");
    expect(code).toBe(1);
  });

  describe("when it is interrupted", () => {
    test("cancels the generation and says what was charged; a copy of the signal, as npm sends it, changes nothing", async () => {
      const command = generate("a red circle", "--out", "circle.png");
      const call = (await worker.nextCall()).started().step(9);
      const id = await newestId();
      for await (const event of app.member.events(id!)) if (event.step === 9) break;
      command.kill("SIGINT");
      command.kill("SIGTERM"); // a second SIGINT could melt into the first
      await call.hungUp;
      expect(await command.ended()).toBe(130);
      expect(command.output).toContain(`cancelled ${id} (0.082944 credits charged)\n`);
      expect(readdirSync(folder)).toEqual([]);
      await expectBalancedLedger(app.db);
    });

    test("ends at once at the second time", async () => {
      // A server that accepts connections and never answers: only a second signal can end this.
      const silent = createServer().listen(0, "127.0.0.1");
      await new Promise((resolve) => silent.once("listening", resolve));
      const { port } = silent.address() as AddressInfo;
      const credentials = join(folder, "credentials.json");
      writeFileSync(credentials, JSON.stringify({ url: `http://127.0.0.1:${port}/graphql`, apiKey: "x" }));
      const connected = new Promise((resolve) => silent.once("connection", resolve));
      const command = generate("a red circle", "--out", "circle.png", "--credentials", credentials);
      await connected;
      await until(() => {
        command.kill("SIGINT");
        expect(command.isRunning).toBe(false);
      });
      expect(await command.ended()).toBe(130);
      silent.close();
    });
  });
});

describe("when the server goes away in mid-run", () => {
  test("waits until it is back, and writes the picture", async () => {
    const first = new FakeWorker();
    const before = await createTestApp({ workers: first });
    const folder = mkdtempSync(join(tmpdir(), "atelier-cli-"));
    const command = new Command(["generate", "a red circle", "--out", "circle.png"], {
      cwd: folder,
      environment: { DATA_DIR: before.dataDir },
    });
    const call = await first.nextCall();
    call.started().step(1);
    void call.yieldRequested.then(() => call.yielded());
    await before.stop({ keepData: true });
    await until(() => expect(command.output).toMatch(/lost the server \(.*\), trying again for 60 s …/));

    const second = new FakeWorker();
    const PORT = new URL(before.credentials.url).port;
    const after = await createTestApp({ workers: second }, { DATA_DIR: before.dataDir, PORT });
    await (await second.nextCall()).started().succeed();
    expect(await command.ended()).toBe(0);
    expect(readdirSync(folder)).toEqual(["circle.png"]);
    expect(command.output.match(/lost the server/g)).toHaveLength(1);
    await after.stop();
    rmSync(folder, { recursive: true });
  });
});
