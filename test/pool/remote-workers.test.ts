import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { pino } from "pino";
import { describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { CertificateFiles, type CertificatePaths, TokenFile } from "../../proto/renewed-files.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { RemoteWorkers } from "../../src/pool/remote-workers.ts";
import { StaticPlaces } from "../../src/pool/static-places.ts";
import type { AttemptRequest, WorkerEvent } from "../../src/pool/worker-call.ts";
import { WorkerAccess } from "../../src/pool/worker-channel.ts";
import { type Slot, WorkerPool } from "../../src/pool/worker-pool.ts";
import { hasOpenssl, makeAuthority } from "../support/certificates.ts";
import { startTcpWorker } from "../support/tcp-worker.ts";

const TOKEN = "a token for workers";
const modelFolder = () => join(inject("templateData"), "models/tiny");

const request = (steps: number): AttemptRequest => ({
  leaseId: "lease",
  preset: "tiny",
  group: { id: "lease", size: 1, standby: false },
  resumeFrom: undefined,
  task: {
    kind: "TEXT_TO_IMAGE",
    prompt: "a red circle",
    drawing: {
      unconditionalPrompt: "nothing",
      width: 96,
      height: 96,
      count: 1,
      steps,
      guidanceScale: 3,
      guidanceSchedule: "CONSTANT",
      temperature: 1,
      speed: "EXACT",
      seed: "1",
    },
  },
});

async function start(environment: NodeJS.ProcessEnv) {
  const worker = await startTcpWorker({ modelFolder: modelFolder(), environment });
  onTestFinished(() => worker.stop());
  return worker;
}

/** A pool of one worker. */
async function poolOf(target: string, access: WorkerAccess, serverName?: string) {
  const logged: { msg: string; worker?: string }[] = [];
  let wake: () => void = () => {};
  const write = (line: string): void => {
    logged.push(JSON.parse(line));
    wake();
  };
  const logger = pino({ level: "info" }, { write });
  const source = new StaticPlaces([target]);
  const named = { start: source.start.bind(source), stop: source.stop.bind(source) };
  if (serverName !== undefined)
    named.start = (listener) => source.start((places) => listener(places.map((place) => ({ ...place, serverName }))));
  const pool = new WorkerPool(new RemoteWorkers({ source: named, access, logger }), systemClock, logger);
  await pool.start();
  onTestFinished(() => pool.stop());
  return {
    pool,
    async says(text: string): Promise<void> {
      while (!logged.some(({ msg }) => msg.includes(text))) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async slot(): Promise<Slot> {
      for (;;) {
        const [slot] = pool.acquireIdle().flatMap(({ slots }) => slots);
        if (slot !== undefined) return slot;
        await new Promise<void>((resolve) => {
          const leave = pool.onChange(() => {
            leave();
            resolve();
          });
        });
      }
    },
  };
}

const withToken = (token: string | undefined) => new WorkerAccess({ token: () => token, tls: undefined });

async function run(slot: Slot, steps: number, onEvent: (event: WorkerEvent) => void = () => {}) {
  const events: WorkerEvent[] = [];
  for await (const event of slot.worker.generate(request(steps), new AbortController().signal)) {
    events.push(event);
    onEvent(event);
  }
  return events;
}

test("a worker that is told to stop lets its attempt yield over TCP, and is lost afterwards", async () => {
  const worker = await start({ WORKER_TOKEN: TOKEN });
  const { says, slot } = await poolOf(worker.target, withToken(TOKEN));
  const exited = once(worker.child, "close");
  let isTold = false;
  const events = await run(await slot(), 36, (event) => {
    if (event.kind !== "frame" || event.stepsDone < 2 || isTold) return;
    isTold = worker.child.kill("SIGTERM");
  });
  expect(events.at(-1)).toEqual({ kind: "yielded" });
  const checkpoint = events.filter((event) => event.kind === "checkpoint").at(-1)!;
  expect(checkpoint.checkpoint.stepsDone).toBeGreaterThanOrEqual(2);
  expect(checkpoint.checkpoint.stepsDone).toBeLessThan(36);
  expect((await exited)[0]).toBe(0);
  await says("worker lost");
});

describe("a worker on the network", () => {
  test("answers only callers who have its token", async () => {
    const worker = await start({ WORKER_TOKEN: TOKEN });
    for (const token of [undefined, "another token of them"])
      await (await poolOf(worker.target, withToken(token))).says("is WORKER_TOKEN the same on both sides?");
    const { slot } = await poolOf(worker.target, withToken(TOKEN));
    expect((await run(await slot(), 1)).at(-1)).toMatchObject({ kind: "done" });
  });

  test("does not start where anybody could use it, nor with a token that can be guessed", async () => {
    await expect(start({ LISTEN: "0.0.0.0:0" })).rejects.toThrow("Anybody could use this worker at 0.0.0.0:0.");
    await expect(start({ WORKER_TOKEN: "short" })).rejects.toThrow("WORKER_TOKEN is too short");
    await expect(start({ WORKER_TLS_KEY: "key" })).rejects.toThrow("WORKER_TLS_CERT, WORKER_TLS_KEY and WORKER_TLS_CA");
  });

  test.skipIf(!hasOpenssl)("serves only callers with a certificate, where it has one (needs openssl)", async () => {
    const authority = makeAuthority();
    onTestFinished(() => authority.remove());
    const [ours, theirs] = [authority.sign("dispatcher"), authority.sign("inference.test")];
    const stranger = makeAuthority();
    onTestFinished(() => stranger.remove());
    const tls = { WORKER_TLS_CERT: theirs.cert, WORKER_TLS_KEY: theirs.key, WORKER_TLS_CA: authority.caFile };
    const worker = await start(tls);
    const accessWith = ({ cert, key }: { cert: string; key: string }) =>
      new WorkerAccess({
        token: () => undefined,
        tls: new CertificateFiles({ ca: authority.caFile, cert, key }, { renewed: () => {}, refused: () => {} }),
      });
    const unknown = await poolOf(worker.target, accessWith(stranger.sign("dispatcher")), "inference.test");
    const misled = await poolOf(worker.target, accessWith(ours), "another.test");
    const { slot } = await poolOf(worker.target, accessWith(ours), "inference.test");
    expect((await run(await slot(), 1)).at(-1)).toMatchObject({ kind: "done" });
    for (const { pool } of [unknown, misled]) expect(pool.acquireIdle()).toEqual([]);
  });
});

describe("what is renewed needs no restart:", () => {
  const folder = (): string => {
    const path = mkdtempSync(join(tmpdir(), "atelier-renewed-"));
    onTestFinished(() => rmSync(path, { recursive: true, force: true }));
    return path;
  };
  const certified = () => {
    const authority = makeAuthority();
    onTestFinished(() => authority.remove());
    return authority;
  };
  const silent = { renewed: () => {}, refused: () => {} };
  const tlsOf = (paths: CertificatePaths) =>
    new WorkerAccess({ token: () => undefined, tls: new CertificateFiles(paths, silent) });
  const startWithTls = ({ ca, cert, key }: CertificatePaths) =>
    start({ WORKER_TLS_CERT: cert, WORKER_TLS_KEY: key, WORKER_TLS_CA: ca });

  test.skipIf(!hasOpenssl)("a worker shows its new certificate, and what runs goes on (needs openssl)", async () => {
    const authority = certified();
    const ca = authority.caFile;
    const ours = { ca, ...authority.sign("dispatcher") };
    const worker = await startWithTls({ ca, ...authority.sign("inference.test") });
    const shown = () => certificateAt(worker.target, ours);
    const before = await shown();
    const renewed = new Promise<void>((resolve) =>
      worker.child.stderr!.on("data", (chunk) => String(chunk).includes("certificates were renewed") && resolve()),
    );
    const { slot } = await poolOf(worker.target, tlsOf(ours), "inference.test");
    const events: WorkerEvent[] = [];
    for await (const event of (await slot()).worker.generate(request(8), new AbortController().signal)) {
      events.push(event);
      if (event.kind !== "started") continue;
      authority.sign("inference.test"); // key and certificate one after the other, in the place of the old ones
      await renewed;
    }
    expect(events.at(-1)).toMatchObject({ kind: "done" });
    expect(await shown()).not.toBe(before);
  });

  test.skipIf(!hasOpenssl)(
    "a server whose certificate was refused gets in with a new one (needs openssl)",
    async () => {
      const authority = certified();
      const worker = await startWithTls({ ca: authority.caFile, ...authority.sign("inference.test") });
      const path = folder();
      const files = { ca: authority.caFile, cert: join(path, "tls.crt"), key: join(path, "tls.key") };
      const show = ({ cert, key }: { cert: string; key: string }): void => {
        copyFileSync(cert, files.cert);
        copyFileSync(key, files.key);
      };
      show(certified().sign("dispatcher"));
      const { pool, slot } = await poolOf(worker.target, tlsOf(files), "inference.test");
      await expect(certificateAt(worker.target, files)).rejects.toThrow();
      expect(pool.acquireIdle()).toEqual([]);
      show(authority.sign("dispatcher"));
      expect((await run(await slot(), 1)).at(-1)).toMatchObject({ kind: "done" });
    },
  );

  test.skipIf(!hasOpenssl)(
    "files that do not fit together are told once, and the old ones stay (needs openssl)",
    () => {
      vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
      onTestFinished(() => void vi.useRealTimers());
      const authority = certified();
      const path = folder();
      const files = { ca: authority.caFile, cert: join(path, "tls.crt"), key: join(path, "tls.key") };
      const [first, second] = [authority.sign("first"), authority.sign("second")];
      copyFileSync(first.cert, files.cert);
      copyFileSync(second.key, files.key);
      const told = { renewed: vi.fn(), refused: vi.fn() };
      expect(() => new CertificateFiles(files, told)).toThrow("key values mismatch");
      copyFileSync(first.key, files.key);
      const used = vi.fn();
      new CertificateFiles(files, told).addIdentityCertificateListener(used);
      copyFileSync(second.cert, files.cert);
      vi.advanceTimersByTime(5000);
      expect([told.refused.mock.calls.length, told.renewed.mock.calls.length, used.mock.calls.length]).toEqual([
        1, 0, 0,
      ]);
      copyFileSync(second.key, files.key);
      vi.advanceTimersByTime(5000);
      expect([told.refused.mock.calls.length, told.renewed.mock.calls.length, used.mock.calls.length]).toEqual([
        1, 1, 1,
      ]);
    },
  );

  test("tokens take each other's place without a call that is refused", async () => {
    const file = join(folder(), "token");
    const tell = (...tokens: readonly string[]): void => writeFileSync(file, `${tokens.join("\n")}\n`);
    tell(TOKEN);
    const worker = await start({ WORKER_TOKEN_FILE: file });
    const shown = new TokenFile(file);
    let token: string | undefined = TOKEN;
    const { slot } = await poolOf(worker.target, new WorkerAccess({ token: () => token, tls: undefined }));
    const draw = async () => {
      const taken = await slot();
      return run(taken, 1).finally(() => taken.release());
    };
    tell(TOKEN, "the next token for workers");
    token = shown.all[1];
    expect((await draw()).at(-1)).toMatchObject({ kind: "done" });
    token = shown.all[0];
    expect((await draw()).at(-1)).toMatchObject({ kind: "done" });
    tell("the next token for workers");
    await expect(draw()).rejects.toThrow("This worker wants another token.");
    [token] = shown.all;
    tell("short"); // nobody's token: it stays as it was
    expect([shown.all, (await draw()).at(-1)?.kind]).toEqual([["the next token for workers"], "done"]);
    await expect(start({ WORKER_TOKEN_FILE: file })).rejects.toThrow("has no token, or one that is too short");
  });
});

/** Fingerprint of what a new connection is shown. */
async function certificateAt(target: string, { ca, cert, key }: CertificatePaths): Promise<string> {
  const [host = "", port] = target.split(":");
  const [caText, certText, keyText] = [ca, cert, key].map((file) => readFileSync(file));
  const socket = connect({
    ...{ host, port: Number(port), servername: "inference.test", ALPNProtocols: ["h2"] },
    ...{ ca: caText!, cert: certText!, key: keyText! },
  });
  const closed = once(socket, "close").then(() => Promise.reject(new Error("the worker hung up")));
  try {
    await Promise.race([once(socket, "data"), closed]); // the server's first words come only to who may stay
    return socket.getPeerCertificate().fingerprint256;
  } finally {
    socket.destroy();
  }
}
