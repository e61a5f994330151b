import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { until } from "../support/until.ts";

describe("a download", () => {
  const signer = new UrlSigner({ id: "test", secret: randomBytes(32).toString("base64url") });
  const lines: string[] = [];
  const left = vi.fn();
  let server: Server;
  let link: (path: string) => string;

  const files: Record<string, () => AsyncGenerator<string>> = {
    "/broken": async function* () {
      yield "first\n";
      throw new Error("the database went away");
    },
    "/endless": async function* () {
      try {
        for (;;) yield "line\n";
      } finally {
        left();
      }
    },
  };

  beforeAll(async () => {
    const logger = pino({ level: "error" }, { write: (line) => lines.push(line) });
    server = createServer((request, response) => {
      if (links.admit(request, response) === undefined) return;
      const content = files[new URL(request.url ?? "", "http://localhost").pathname]!;
      void links.send(request, response, { headers: { "content-type": "text/plain" }, content });
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const links = new SignedLinks({
      signer,
      clock: new FakeClock(),
      publicUrl: () => `http://127.0.0.1:${port}`,
      logger,
    });
    link = (path) => links.make(path, 60);
  });
  afterAll(() => server.close());

  test("that we cannot go on with is cut, and the log has why without the link", async () => {
    const response = await fetch(link("/broken"));
    await expect(response.text()).rejects.toThrow();
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ path: "/broken", err: { message: "the database went away" } });
    expect(lines[0]).not.toContain("expires=");
  });

  test("whose reader hangs up ends without a word", async () => {
    lines.length = 0;
    const leaving = new AbortController();
    const response = await fetch(link("/endless"), { signal: leaving.signal });
    await response.body!.getReader().read();
    leaving.abort();
    await until(() => expect(left).toHaveBeenCalled());
    expect(lines).toEqual([]);
  });
});
