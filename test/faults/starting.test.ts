import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { isRunning, ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { until } from "../support/until.ts";

describe("a first start", () => {
  /** A server that builds its model: the model tool is its only child. */
  async function setup() {
    const folder = temporaryFolder();
    const server = ServerProcess.launch(folder.path);
    await until(() => expect(server.childPids).toHaveLength(1));
    const [builder] = server.childPids;
    const isFree = async () => {
      const next = await ServerProcess.start(folder.path);
      expect(await next.end("SIGTERM")).toBe(0);
      folder.remove();
    };
    return { server, builder: builder!, isFree };
  }

  test("ends at once when it is interrupted, and the next one succeeds", async () => {
    const { server, builder, isFree } = await setup();
    server.interrupt();
    expect(await server.ended()).toBe(0);
    expect(server.log).not.toContain("atelier:");
    expect(isRunning(builder)).toBe(false);
    await isFree();
  });

  slowTest("that is killed leaves no process behind, and the next one succeeds", async () => {
    const { server, builder, isFree } = await setup();
    await server.end("SIGKILL");
    await until(() => expect(isRunning(builder)).toBe(false));
    await isFree();
  });
});

describe("a data folder", () => {
  slowTest("may have a path that is far too long for a Unix socket", async () => {
    const folder = temporaryFolder();
    const server = await ServerProcess.start(join(folder.path, "a-rather-long-name/".repeat(8)));
    expect((await server.client.finished(await server.client.create({ prompt: "a red circle", steps: 1 }))).state).toBe(
      "SUCCEEDED",
    );
    expect(await server.end("SIGTERM")).toBe(0);
    folder.remove();
  });

  test("that cannot be written is refused with clear words", async () => {
    const server = ServerProcess.launch("/proc/atelier");
    expect(await server.ended()).toBe(1);
    expect(server.log.trim()).toBe(
      "atelier: Cannot write to /proc/atelier. Set DATA_DIR to a folder that this user may write to.",
    );
  });

  test("is not touched when a setting is wrong", async () => {
    const server = ServerProcess.launch("/proc/atelier", { PORT: "http" });
    expect(await server.ended()).toBe(1);
    expect(server.log).toContain("These environment variables cannot be used");
    expect(server.log).toContain("PORT:");
  });

  slowTest("gets its model anew when another dtype is asked for", async () => {
    const folder = temporaryFolder(inject("templateData"));
    const server = await ServerProcess.start(folder.path, { PRESET_DTYPE: "int8" });
    const manifest = JSON.parse(readFileSync(join(folder.path, "models/tiny/manifest.json"), "utf8"));
    expect(manifest.dtype).toBe("int8");
    const drawn = await server.client.finished(await server.client.create({ prompt: "a red circle", steps: 1 }));
    expect(drawn.state).toBe("SUCCEEDED");
    await server.end("SIGTERM");
    folder.remove();
  });

  test("without a model is refused with the reason why the model cannot be built", async () => {
    const folder = temporaryFolder(inject("templateData"));
    const server = ServerProcess.launch(folder.path, { PRESET_CHECKPOINT: "/nowhere" });
    expect(await server.ended()).toBe(1);
    expect(server.log).toContain("atelier: The model could not be built: There is no checkpoint folder at /nowhere.");
    folder.remove();
  });
});
