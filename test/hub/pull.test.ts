import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { pullFiles } from "../../inference/hub/pull.ts";
import { listFiles } from "../../inference/hub/repository.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { type Misbehaviour, REPOSITORY, serve, startHub } from "./hub-server.ts";

/** Bytes that differ from each other along the file. */
const bytes = (length: number, start: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (start + i * 31 + (i >> 8)) % 256));

const CONTENTS = {
  "pytorch_model.bin": bytes(400_000, 1),
  "kl16.ckpt": bytes(90_000, 2),
  "Qwen2.5-1.5B-Instruct/config.json": Buffer.from('{"hidden_size": 1536}'),
  "Qwen2.5-1.5B-Instruct/tokenizer.json": Buffer.from("{}"),
  "README.md": Buffer.from("not needed"),
  "siglip2-so400m-patch16-512/model.safetensors": bytes(1000, 3),
};
const NEEDED = Object.keys(CONTENTS).filter((name) => !/README|siglip2/.test(name));

async function setup(
  misbehaviour: Misbehaviour = {},
  { token, idleTimeoutMs = 10_000 }: { token?: string; idleTimeoutMs?: number } = {},
) {
  const { endpoint, requests } = await startHub(CONTENTS, misbehaviour);
  const hub = { endpoint, token };
  const folder = createFolder();
  const seen: number[] = [];
  /** Told whenever something has arrived. */
  const watch = { onProgress: (): void => {} };
  return {
    watch,
    folder,
    requests,
    seen,
    list: (repository = REPOSITORY, revision = "main") => listFiles(hub, repository, revision),
    async pull(): Promise<void> {
      const files = await listFiles(hub, REPOSITORY, "main");
      const signal = new AbortController().signal;
      await pullFiles(hub, files, {
        folder,
        signal,
        retryDelayMs: 1,
        idleTimeoutMs,
        onProgress,
      });
      function onProgress(total: number): void {
        seen.push(total);
        watch.onProgress();
      }
    },
    expectWhole(): void {
      for (const name of NEEDED) {
        expect(readFileSync(join(folder, name)).equals(CONTENTS[name as keyof typeof CONTENTS]), name).toBe(true);
      }
      expect(readdirSync(folder).sort()).toEqual(["Qwen2.5-1.5B-Instruct", "kl16.ckpt", "pytorch_model.bin"]);
    },
  };
}

/** Answers the first requests of the large file badly, and all others well. */
function firstTimes(times: number, bad: (request: IncomingMessage, response: ServerResponse, content: Buffer) => void) {
  let left = times;
  return (request: IncomingMessage, response: ServerResponse, content: Buffer): boolean => {
    if (!request.url?.endsWith("pytorch_model.bin") || left-- <= 0) return false;
    bad(request, response, content);
    return true;
  };
}

test("a checkpoint's files arrive whole, and nothing else does", async () => {
  const { pull, expectWhole, seen } = await setup();
  await pull();
  expectWhole();
  expect(seen.at(-1)).toBe(NEEDED.reduce((sum, name) => sum + CONTENTS[name as keyof typeof CONTENTS].length, 0));
});

test("what is there already is not fetched again", async () => {
  const { pull, requests, expectWhole } = await setup();
  await pull();
  const before = requests.length;
  await pull();
  expect(requests.length).toBe(before);
  expectWhole();
});

describe("a download goes on", () => {
  test("after connections that broke, from where it was", async () => {
    let open: { response: ServerResponse; until: number } | undefined;
    const drop = (request: IncomingMessage, response: ServerResponse, content: Buffer): void => {
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      const status = from > 0 ? 206 : 200;
      response.writeHead(status, {
        "content-range": `bytes ${from}-${content.length - 1}/${content.length}`,
        "content-length": content.length - from,
      });
      response.write(content.subarray(from, from + 50_000));
      open = { response, until: from + 50_000 };
    };
    const { watch, folder, pull, requests, expectWhole } = await setup({ answer: firstTimes(7, drop) });
    watch.onProgress = () => {
      const part = statSync(join(folder, "pytorch_model.bin.part"), { throwIfNoEntry: false });
      if (open !== undefined && (part?.size ?? 0) >= open.until) open.response.destroy();
    };
    await pull();
    expectWhole();
    const ranges = requests.filter(({ path }) => path === "pytorch_model.bin").map(({ range }) => range);
    expect(ranges).toHaveLength(8);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=\d+-$/.test(range ?? ""))).toBe(true);
  });

  test("in another process, from the part that an earlier one left", async () => {
    const { folder, pull, requests, expectWhole } = await setup();
    writeFileSync(join(folder, "pytorch_model.bin.part"), CONTENTS["pytorch_model.bin"].subarray(0, 123_456));
    await pull();
    expectWhole();
    expect(requests).toContainEqual({ path: "pytorch_model.bin", range: "bytes=123456-" });
  });

  test("from the beginning where the hub ignores ranges", async () => {
    const whole = (_: IncomingMessage, response: ServerResponse, content: Buffer): void => void response.end(content);
    const { folder, pull, expectWhole } = await setup({ answer: firstTimes(1, whole) });
    writeFileSync(join(folder, "pytorch_model.bin.part"), bytes(1000, 9));
    await pull();
    expectWhole();
  });

  test("after 429 and 503, when the hub says", async () => {
    const statuses = [429, 503];
    const busy = (_: IncomingMessage, response: ServerResponse): void =>
      void response.writeHead(statuses.shift() ?? 500, { "retry-after": "0" }).end();
    const { pull, expectWhole } = await setup({ answer: firstTimes(2, busy) });
    await pull();
    expectWhole();
  });

  test("after a connection over which nothing comes any more", async () => {
    const stall = (_: IncomingMessage, response: ServerResponse, content: Buffer): void =>
      void response.write(content.subarray(0, 1000));
    const { pull, expectWhole } = await setup({ answer: firstTimes(1, stall) }, { idleTimeoutMs: 200 });
    await pull();
    expectWhole();
  });

  test("after a part that is not of this file", async () => {
    const { folder, pull, expectWhole } = await setup();
    writeFileSync(join(folder, "pytorch_model.bin.part"), bytes(200_000, 77));
    writeFileSync(join(folder, "kl16.ckpt.part"), bytes(100_000, 78)); // larger than the file
    await pull();
    expectWhole();
  });

  test("after damaged bytes, which are fetched again", async () => {
    const damage = (request: IncomingMessage, response: ServerResponse, content: Buffer): void =>
      serve(request, response, Buffer.concat([content.subarray(0, -1), Buffer.of(content.at(-1)! ^ 1)]));
    const { pull, expectWhole } = await setup({ answer: firstTimes(1, damage) });
    await pull();
    expectWhole();
  });
});

describe("a clear error, and no file under its name, when", () => {
  const failureOf = async ({ pull }: Awaited<ReturnType<typeof setup>>): Promise<string> => {
    const error: unknown = await pull().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "HubError" });
    return (error as Error).message;
  };

  test("the hub wants a token", async () => {
    const bundle = await setup({ token: "hf_right" });
    expect(await failureOf(bundle)).toBe(
      `The hub does not let you read ${REPOSITORY} at main (401). Set HF_TOKEN to a token that may.`,
    );
    const right = await setup({ token: "hf_right" }, { token: "hf_right" });
    await right.pull();
    right.expectWhole();
  });

  test("there is no such repository, or no such revision", async () => {
    const { list } = await setup();
    await expect(list("nobody/nothing")).rejects.toThrow(
      "The hub has no nobody/nothing at main (404). Check the name.",
    );
    await expect(list(REPOSITORY, "v9")).rejects.toThrow(`The hub has no ${REPOSITORY} at v9 (404).`);
    await expect(list("nonsense")).rejects.toThrow('"nonsense" is no repository. Name one such as ');
  });

  test("a file is announced and missing", async () => {
    const bundle = await setup({ answer: firstTimes(99, (_, response) => void response.writeHead(404).end()) });
    expect(await failureOf(bundle)).toBe("The hub has no pytorch_model.bin (404). Check the name.");
    expect(existsSync(join(bundle.folder, "pytorch_model.bin"))).toBe(false);
  });

  test("the content is wrong again and again", async () => {
    const announce = ({ rfilename }: { rfilename: string }): object =>
      rfilename === "kl16.ckpt" ? { lfs: { sha256: "0".repeat(64) } } : {};
    const bundle = await setup({ announce });
    expect(await failureOf(bundle)).toMatch(/^kl16\.ckpt came with wrong content twice\./);
    expect(existsSync(join(bundle.folder, "kl16.ckpt"))).toBe(false);
  });

  test("more comes than was announced", async () => {
    const announce = ({ rfilename, size }: { rfilename: string; size: number }): object =>
      rfilename === "kl16.ckpt" ? { size: size - 1 } : {};
    const bundle = await setup({ announce });
    expect(await failureOf(bundle)).toBe(
      "kl16.ckpt does not arrive: the hub sent more than it announced. What is there is kept; run the command again to go on.",
    );
  });

  test("nothing ever comes; what was there is kept", async () => {
    const bundle = await setup({ answer: firstTimes(99, (_, response) => void response.destroy()) });
    mkdirSync(bundle.folder, { recursive: true });
    writeFileSync(join(bundle.folder, "pytorch_model.bin.part"), CONTENTS["pytorch_model.bin"].subarray(0, 5000));
    expect(await failureOf(bundle)).toMatch(/^pytorch_model\.bin does not arrive: the connection broke\./);
    expect(statSync(join(bundle.folder, "pytorch_model.bin.part")).size).toBe(5000);
  });

  test("a file cannot be written", async () => {
    const bundle = await setup();
    mkdirSync(join(bundle.folder, "kl16.ckpt.part")); // a folder in its place
    expect(await failureOf(bundle)).toBe(
      `${join(bundle.folder, "kl16.ckpt.part")} cannot be written (EISDIR). Make room, or name a folder you may write to.`,
    );
  });

  test("the address is no hub's", async () => {
    const hub = { endpoint: "http://127.0.0.1:9", token: undefined };
    await expect(listFiles(hub, REPOSITORY, "main")).rejects.toThrow("http://127.0.0.1:9 cannot be reached.");
  });

  test("a file would lie outside of the folder", async () => {
    const { endpoint } = await startHub({ "../Qwen2.5-1.5B-Instruct/config.json": Buffer.from("{}") });
    await expect(listFiles({ endpoint, token: undefined }, REPOSITORY, "main")).rejects.toThrow(
      "outside of the folder",
    );
  });
});
