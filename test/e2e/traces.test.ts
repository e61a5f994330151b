import { afterEach, beforeEach, expect, inject, test, vi } from "vitest";
import { type CollectedSpan, type Collector, startCollector } from "../support/collector.ts";
import { freePort } from "../support/free-port.ts";
import { CREATE, newInput } from "../support/graphql-client.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";

const PROMPT = "a red circle that nobody else may know of";
const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN = "b7ad6b7169203331";

let collector: Collector;
let folder: ReturnType<typeof temporaryFolder>;
let server: ServerProcess | undefined;

beforeEach(async () => {
  collector = await startCollector();
  folder = temporaryFolder(inject("templateData"));
});
afterEach(async () => {
  await server?.end("SIGKILL");
  await collector.close();
  folder.remove();
});

const start = async (environment: NodeJS.ProcessEnv): Promise<ServerProcess> => {
  server = await ServerProcess.start(folder.path, { SHUTDOWN_GRACE_SECONDS: "0", ...environment });
  return server;
};

/** As a caller does that is traced itself. */
async function createTraced({ client }: ServerProcess, settings: object): Promise<string> {
  const response = await fetch(client.url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${client.apiKey}`,
      traceparent: `00-${TRACE_ID}-${CALLER_SPAN}-01`,
    },
    body: JSON.stringify({ query: CREATE, variables: { input: newInput({ prompt: PROMPT, ...settings }) } }),
  });
  return ((await response.json()) as any).data.createGeneration.generation.id;
}

const traced = (): readonly CollectedSpan[] => collector.spans.filter(({ traceId }) => traceId === TRACE_ID);
const named = (name: string): readonly CollectedSpan[] => traced().filter((span) => span.name === name);
const childrenOf = (parent: CollectedSpan | undefined): readonly string[] =>
  traced()
    .filter(({ parentSpanId }) => parentSpanId === parent?.spanId)
    .sort((one, other) => one.startedAt - other.startedAt)
    .map(({ name }) => name);
const callsOf = (service: string): readonly CollectedSpan[] =>
  named("inference.v1.InferenceService/Generate").filter((span) => span.service === service);

test("a generation is one trace of its caller, from the request to the end that is written, through the worker", async () => {
  const started = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const id = await createTraced(started, { steps: 3, count: 2, seed: "1" });
  await started.client.finished(id);
  expect(await started.end("SIGTERM")).toBe(0); // what is not sent yet is sent now, by the server and by its worker

  const [request] = named("POST /graphql");
  const [admission] = named("admit generation");
  const [attempt] = named("attempt");
  expect(request).toMatchObject({ parentSpanId: CALLER_SPAN, service: "atelier" });
  expect(childrenOf(request)).toEqual(["admit generation"]);
  expect(childrenOf(admission)).toEqual(["wait for worker", "attempt"]);
  expect(childrenOf(attempt)).toEqual([
    "prepare attempt",
    "inference.v1.InferenceService/Generate",
    "store picture",
    "store picture",
    "write end of attempt",
  ]);
  const [call] = callsOf("atelier");
  const [run] = callsOf("atelier-worker");
  expect(run?.parentSpanId).toBe(call?.spanId);
  const stages = childrenOf(run);
  expect([...new Set(stages)]).toEqual(
    expect.arrayContaining(["wait for start", "prefill", "mar step", "decode picture", "encode picture"]),
  );
  expect(stages.filter((name) => name === "mar step")).toHaveLength(3);
  expect(named("mar step").map((step) => childrenOf(step))).toEqual([["diffusion"], ["diffusion"], ["diffusion"]]);
  expect(named("write end of attempt")[0]?.attributes).toMatchObject({ "atelier.generation.state": "SUCCEEDED" });
  const wait = named("wait for worker")[0]!;
  expect(wait.endedAt).toBeGreaterThanOrEqual(wait.startedAt);
  for (const { startedAt, endedAt } of traced()) expect(endedAt).toBeGreaterThanOrEqual(startedAt);

  const [began] = started.logged("attempt started");
  const [queued] = started.logged("generation queued");
  const { generationId, tenantId, leaseId, worker } = began;
  expect(attempt?.attributes).toMatchObject({
    "atelier.generation.id": generationId,
    "atelier.tenant.id": tenantId,
    "atelier.lease.id": leaseId,
    "atelier.worker": worker,
    "atelier.attempt.number": 1,
    "atelier.attempt.outcome": "SUCCEEDED",
    "atelier.preset": "tiny",
    "atelier.group.size": 1,
  });
  expect(began).toMatchObject({ trace_id: TRACE_ID, span_id: attempt?.spanId });
  expect(queued).toMatchObject({ trace_id: TRACE_ID, span_id: admission?.spanId, generationId, tenantId });
  const told = JSON.stringify(collector.spans);
  for (const secret of [PROMPT, started.client.apiKey!]) expect(told).not.toContain(secret);
});

test("a generation that is asked for over a socket is part of its caller's trace, too", async () => {
  const started = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const socket = started.client.socket();
  const extensions = { traceparent: `00-${TRACE_ID}-${CALLER_SPAN}-01` };
  const variables = { input: newInput({ prompt: PROMPT, steps: 2 }) };
  const answers = socket.iterate<any>({ query: CREATE, variables, extensions });
  const { value } = await answers.next();
  await socket.dispose();
  await started.client.finished(value.data.createGeneration.generation.id);
  expect(await started.end("SIGTERM")).toBe(0);
  const [request] = named("WEBSOCKET /graphql");
  expect(request).toMatchObject({ parentSpanId: CALLER_SPAN, service: "atelier" });
  expect(childrenOf(request)).toEqual(["admit generation"]);
  expect(named("attempt")).toHaveLength(1);
});

slowTest("attempts after a worker was killed are in the same trace, and say how the first one failed", async () => {
  const started = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const id = await createTraced(started, { steps: 36, count: 4, seed: "3" });
  for await (const event of started.client.events(id)) if (event.step >= 2) break;
  process.kill(started.workerPids[0]!, "SIGKILL");
  await started.client.finished(id);
  await started.end("SIGTERM");

  expect(childrenOf(named("admit generation")[0])).toEqual([
    "wait for worker",
    "attempt",
    "wait for worker",
    "attempt",
  ]);
  const [first, second] = [...named("attempt")].sort((one, other) => one.startedAt - other.startedAt);
  expect(first).toMatchObject({
    isError: true,
    attributes: { "error.type": "WORKER_LOST", "atelier.attempt.number": 1, "atelier.worker": "local-1" },
  });
  expect(second).toMatchObject({
    isError: false,
    attributes: { "atelier.attempt.number": 2, "atelier.worker": "local-2", "atelier.attempt.outcome": "SUCCEEDED" },
  });
  expect(callsOf("atelier-worker").map(({ parentSpanId }) => parentSpanId)).toContain(
    callsOf("atelier").find(({ parentSpanId }) => parentSpanId === second?.spanId)?.spanId,
  );
});

slowTest(
  "attempts after the server was killed are in the same trace, as is the one that nobody could tell of",
  async () => {
    const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: "20" };
    const killed = await start(environment);
    const id = await createTraced(killed, { steps: 36, count: 4, seed: "3" });
    for await (const event of killed.client.events(id)) if (event.step >= 2) break;
    await vi.waitFor(() => expect(named("admit generation")).toHaveLength(1), { timeout: 10_000 });
    await killed.end("SIGKILL");
    const restarted = await start(environment);
    await restarted.client.finished(id);
    await restarted.end("SIGTERM");

    const attempts = [...named("attempt")].sort((one, other) => one.startedAt - other.startedAt);
    expect(attempts).toMatchObject([
      { isError: true, attributes: { "error.type": "ORPHANED", "atelier.attempt.number": 1 } },
      { isError: false, attributes: { "atelier.attempt.outcome": "SUCCEEDED", "atelier.attempt.number": 2 } },
    ]);
    const [admission] = named("admit generation");
    for (const { parentSpanId } of attempts) expect(parentSpanId).toBe(admission?.spanId);
  },
);

slowTest("a collector that is gone costs spans, and a line of the log", async () => {
  const started = await start({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}`,
    OTEL_EXPORTER_OTLP_TIMEOUT: "100",
    OTEL_BSP_SCHEDULE_DELAY: "10",
  });
  const draw = async (): Promise<string> => {
    const id = await createTraced(started, { steps: 2, seed: "1" });
    return (await started.client.finished(id)).state;
  };
  expect(await draw()).toBe("SUCCEEDED");
  await started.says("spans get lost");
  for (let i = 0; i < 3; i++) expect(await draw()).toBe("SUCCEEDED");
  expect(await started.end("SIGTERM")).toBe(0);
  expect(started.logged("spans get lost")).toHaveLength(1);
});
