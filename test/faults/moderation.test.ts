import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject } from "vitest";
import { allow, CheckerService, hang } from "../support/checker-service.ts";
import { readVerdicts, setChecks } from "../support/checks.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";

describe("when the server is killed", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let checker: CheckerService;
  let server: ServerProcess;
  let settings: NodeJS.ProcessEnv;

  beforeEach(async () => {
    folder = temporaryFolder(inject("templateData"));
    checker = new CheckerService();
    settings = { MODERATION_URL: await checker.start(), MODERATION_SECRET: "a secret of the two of us" };
    server = await ServerProcess.start(folder.path, settings);
  });
  afterEach(async () => {
    await server.end("SIGKILL");
    await checker.stop();
    folder.remove();
  });

  slowTest("while a picture is being judged, nobody has seen it, and it is drawn and judged again", async () => {
    const { url, adminApiKey } = JSON.parse(readFileSync(join(folder.path, "credentials.json"), "utf8"));
    await setChecks(new GraphqlClient(url, adminApiKey), [{ name: "guard", kind: "HTTP", stages: ["IMAGE"] }]);
    checker.answer = hang;
    const id = await server.client.create({ prompt: "a red circle" });
    await expect.poll(() => checker.questions).toHaveLength(1);
    expect(await server.client.generation(id)).toMatchObject({ state: "RUNNING", images: [] });
    await server.end("SIGKILL");
    checker.answer = allow;
    server = await ServerProcess.start(folder.path, settings);
    expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
    const { attempts, images } = await server.client.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["ORPHANED", "SUCCEEDED"]);
    expect(images).toHaveLength(1);
    expect(await readVerdicts(server.client, id)).toMatchObject([{ check: "guard", decision: "ALLOWED" }]);
  });
});
