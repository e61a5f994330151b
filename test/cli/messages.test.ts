import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/server-process.ts";
import { runCommand } from "./command.ts";

describe("credentials", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let stranger: Server;
  let address: string;
  beforeAll(async () => {
    folder = temporaryFolder();
    stranger = createServer((_, response) => response.writeHead(404).end("<h1>no such page</h1>")).listen(0);
    await new Promise((resolve) => stranger.once("listening", resolve));
    address = `http://localhost:${(stranger.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    stranger.close();
    folder.remove();
  });

  const complaint = async (content: string | undefined): Promise<string> => {
    const file = join(folder.path, "credentials.json");
    if (content !== undefined) writeFileSync(file, content);
    const args = ["--out", join(folder.path, "a.png"), "--credentials", content === undefined ? folder.path : file];
    const { code, output } = await runCommand(["generate", "a red circle", ...args]);
    expect(code).toBe(1);
    expect(output).toMatch(/^atelier: .*\n$/);
    return output.replaceAll(file, "FILE").replaceAll(folder.path, "FOLDER").replace("atelier: ", "").trimEnd();
  };

  test("that name no address are refused with an example", async () => {
    expect(await complaint('{"url": "here", "apiKey": "x"}')).toMatch(
      /^FILE cannot be used: "url" is not an address such as http:\/\/127\.0\.0\.1:4000\/graphql\. /,
    );
  });

  test("that are damaged are told from those that are missing and those that cannot be read", async () => {
    expect(await complaint("{")).toMatch(/^FILE cannot be used: it is not JSON\. /);
    expect(await complaint(undefined)).toMatch(/^FOLDER cannot be read: illegal operation on a directory\. /);
    const { output } = await runCommand(["generate", "x", "--out", join(folder.path, "a.png")], {
      environment: { DATA_DIR: join(folder.path, "nowhere") },
    });
    expect(output).toContain(`There is no file ${join(folder.path, "nowhere/credentials.json")}. Start the server`);
  });

  test("of a server that is not there name its address and the reason", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => gone.once("listening", resolve));
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    expect(await complaint(`{"url": "http://127.0.0.1:${port}/graphql", "apiKey": "x"}`)).toBe(
      `No server answers at http://127.0.0.1:${port}/graphql (connect ECONNREFUSED 127.0.0.1:${port}). Start it with "npm start", or check "url" in FILE.`,
    );
  });

  test("of another kind of server say so", async () => {
    expect(await complaint(JSON.stringify({ url: address, apiKey: "x" }))).toBe(
      `${address} answers with status 404, but not as an Atelier server does. Check "url" in FILE; it ends in /graphql.`,
    );
  });

  test("are found where the server puts them, also when its folder is relative", async () => {
    const environment = { DATA_DIR: "surely/not/there" };
    const { output } = await runCommand(["generate", "x", "--out", "a.png"], { cwd: folder.path, environment });
    expect(output).toContain(`There is no file ${join(process.cwd(), "surely/not/there/credentials.json")}.`);
  });
});

describe("options", () => {
  test.each([
    ["--steps", "1.5", "Give a whole number from 1, such as 4."],
    ["--count", "0", "Give a whole number from 1, such as 4."],
    ["--width", "1e10", "Give a whole number from 1, such as 4."],
    ["--temperature", "warm", "Give a number, such as 1.5."],
    ["--speed", "warp", "Give one of exact, fast, faster."],
    ["--seed", "-1", "Give a whole number from 0 to 18446744073709551615, such as 7."],
  ])("%s %s is refused with an example", async (option, value, message) => {
    const { code, output } = await runCommand(["generate", "a red circle", "--out", "a.png", option, value]);
    expect(output).toContain(`argument '${value}' is invalid. ${message}`);
    expect(code).toBe(1);
  });

  test("that belong to a new generation do not go with --resume", async () => {
    const { code, output } = await runCommand(["generate", "--resume", "gen_x", "--out", "a.png", "--steps", "3"]);
    expect(output).toContain("cannot be used with option");
    expect(code).toBe(1);
  });

  test("--version prints the version of the package", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8"));
    expect(await runCommand(["--version"])).toEqual({ code: 0, output: `${version}\n` });
  });
});
