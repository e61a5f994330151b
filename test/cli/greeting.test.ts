import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";

const SHELLS = ["/bin/sh", "/bin/bash", "/bin/zsh"].filter((shell) => existsSync(shell));

describe("the greeting of a server", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: ServerProcess;
  beforeAll(async () => {
    folder = temporaryFolder(inject("templateData"));
    server = await ServerProcess.start(folder.path);
    await server.says("/graphql -H");
  });
  afterAll(async () => {
    await server.end("SIGKILL");
    folder.remove();
  });

  test.each(SHELLS)("has a curl command that queues a new generation at each call in %s", (shell) => {
    const command = server.log.split("\n").find((line) => line.includes("curl -s"))!;
    const queue = () => JSON.parse(execFileSync(shell, ["-c", command], { encoding: "utf8" })).data.createGeneration;
    const answers = [queue(), queue()];
    expect(answers.flatMap(({ userErrors }) => userErrors)).toEqual([]);
    expect(new Set(answers.map(({ generation }) => generation.id)).size).toBe(2);
  });
});
