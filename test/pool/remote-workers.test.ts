import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { describe, expect, inject, onTestFinished, test } from "vitest";
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

const withToken = (token: string | undefined) => new WorkerAccess({ token, tls: undefined });

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
        token: undefined,
        tls: { ca: readFileSync(authority.caFile), cert: readFileSync(cert), key: readFileSync(key) },
      });
    const unknown = await poolOf(worker.target, accessWith(stranger.sign("dispatcher")), "inference.test");
    const misled = await poolOf(worker.target, accessWith(ours), "another.test");
    const { slot } = await poolOf(worker.target, accessWith(ours), "inference.test");
    expect((await run(await slot(), 1)).at(-1)).toMatchObject({ kind: "done" });
    for (const { pool } of [unknown, misled]) expect(pool.acquireIdle()).toEqual([]);
  });
});
