/** The parts of a server as processes of their own, with a PostgreSQL server, Redis where there is one, and a worker on the network. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { newSecret } from "../../src/auth/api-key.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { hasPostgres, type PostgresServer, startPostgres } from "../support/postgres-server.ts";
import { hasRedis, RedisServer } from "../support/redis-server.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { startTcpWorker, type TcpWorker } from "../support/tcp-worker.ts";
import { until } from "../support/until.ts";

const TOKEN = "a token for workers";
const KEY = newSecret();
const ADDRESS = /Atelier is ready at (\S+)/;

const ALL_KINDS = ["QueuedEvent", "StartedEvent", "ProgressEvent", "PreviewEvent", "FinishedEvent"];

/** What kinds of events a client gets to see until the end. */
async function kinds(client: GraphqlClient, id: string): Promise<Set<string>> {
  const seen = new Set<string>();
  for await (const { __typename } of client.events(id)) seen.add(__typename);
  return seen;
}

describe.skipIf(!hasPostgres)("two API servers and two dispatchers (needs PostgreSQL)", () => {
  const folder = temporaryFolder();
  let postgres: PostgresServer;
  let redis: RedisServer | undefined;
  let worker: TcpWorker;
  let apis: readonly ServerProcess[];
  let dispatchers: ServerProcess[];
  let environment: NodeJS.ProcessEnv;

  const startDispatcher = () => ServerProcess.start(folder.path, { ...environment, ROLE: "dispatcher" });
  const clientOf = (api: ServerProcess) => new GraphqlClient(ADDRESS.exec(api.log)![1]!, KEY);
  const stateOf = async (api: ServerProcess, id: string) => (await clientOf(api).generation(id)).state;

  beforeAll(async () => {
    postgres = await startPostgres({ fsync: "off" });
    redis = hasRedis ? await RedisServer.start() : undefined;
    worker = await startTcpWorker({
      modelFolder: join(inject("templateData"), "models/tiny"),
      environment: { WORKER_TOKEN: TOKEN },
    });
    environment = {
      DATABASE_URL: await postgres.createDatabase(),
      REDIS_URL: redis?.url,
      RATE_LIMIT_POINTS_PER_SECOND: "1",
      POOL_WORKERS: worker.target,
      WORKER_TOKEN: TOKEN,
      BOOTSTRAP_ADMIN_KEY: KEY,
      URL_SIGNING_SECRET: randomBytes(32).toString("hex"),
    };
    const startApi = () => ServerProcess.start(folder.path, { ...environment, ROLE: "api" });
    apis = await Promise.all([startApi(), startApi()]);
    dispatchers = [await startDispatcher()];
    await until(async () => {
      const { presets } = await clientOf(apis[0]!).query("{ presets { name } }");
      expect(presets).toHaveLength(1);
    });
    dispatchers.push(await startDispatcher());
  });

  afterAll(async () => {
    for (const server of [...apis, ...dispatchers]) await server.end("SIGKILL");
    await worker.stop();
    await redis?.stop();
    postgres.stop();
    folder.remove();
  });

  test("do together what one server does alone", async () => {
    const [one, two] = apis as [ServerProcess, ServerProcess];
    const id = await clientOf(one).create({ prompt: "a red circle", steps: 2 });
    const finished = await clientOf(two).finished(id);
    expect(finished.state).toBe("SUCCEEDED");
    const images = "query($id: ID!) { generation(id: $id) { images { url } } }";
    const { generation } = await clientOf(two).query(images, { id });
    const { pathname, search } = new URL(generation.images[0].url);
    for (const api of apis) {
      const response = await fetch(new URL(pathname + search, clientOf(api).url));
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toContain("image/");
    }
  });

  test.runIf(hasRedis)(
    "show progress of what another process dispatches, and share a caller's rate limit (needs Redis)",
    async () => {
      const [one, two] = apis.map(clientOf) as [GraphqlClient, GraphqlClient];
      const remaining = async (client: GraphqlClient) =>
        (await client.query("{ viewer { rateLimit { remaining } } }")).viewer.rateLimit.remaining;
      const before = await remaining(two);
      await one.query("{ generations(first: 100) { nodes { id } } }");
      expect(await remaining(two)).toBeLessThan(before - 90);

      const id = await one.create({ prompt: "watched from everywhere", count: 4, steps: 36 });
      const seen = await Promise.all([one, two].map((client) => kinds(client, id)));
      for (const kinds of seen) expect(kinds).toEqual(new Set(ALL_KINDS));
    },
  );

  test.runIf(hasRedis)(
    "finish what runs when Redis is killed, and show progress again when it is back (needs Redis)",
    async () => {
      const [one, two] = apis.map(clientOf) as [GraphqlClient, GraphqlClient];
      const id = await one.create({ prompt: "watched while Redis dies", count: 4, steps: 36 });
      const steps: number[] = [];
      for await (const event of two.events(id)) {
        if (event.__typename === "ProgressEvent") steps.push(event.step);
        if (steps.length === 1 && event.__typename === "ProgressEvent") await redis!.kill();
        if (event.__typename === "FinishedEvent") expect(event.state).toBe("SUCCEEDED");
      }
      expect(steps.at(-1)).toBeLessThan(36);
      await redis!.restart();
      await until(async () => {
        const next = await one.create({ prompt: "watched when it is back", steps: 8 });
        expect(await kinds(two, next)).toEqual(new Set(ALL_KINDS));
      });
    },
  );

  test("answer whether they live and are ready, each on its own port", async () => {
    const ports = dispatchers.map((server) => server.logged("listening"));
    expect(ports.flat()).toHaveLength(2);
    for (const [{ port }] of ports as [{ port: number }][]) {
      for (const path of ["healthz", "readyz"]) {
        expect((await fetch(`http://127.0.0.1:${port}/${path}`)).status).toBe(200);
      }
      expect((await fetch(`http://127.0.0.1:${port}/graphql`)).status).toBe(404);
      expect(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).toContain("atelier_queued_gpu_seconds");
    }
  });

  test("go on when the leader is told to stop: the other one takes the pool over at once", async () => {
    const leader = dispatchers.shift()!;
    expect(await leader.end("SIGTERM")).toBe(0);
    const id = await clientOf(apis[0]!).create({ prompt: "a blue square", steps: 2 });
    expect((await clientOf(apis[1]!).finished(id)).state).toBe("SUCCEEDED");
    dispatchers.push(await startDispatcher());
  });

  slowTest("lose nothing when the leader is killed: the other one goes on when its leases have run out", async () => {
    const [api] = apis as [ServerProcess];
    const id = await clientOf(api).create({ prompt: "green stars", count: 4 });
    await until(async () => expect(await stateOf(api, id)).toBe("RUNNING"));
    await dispatchers.shift()!.end("SIGKILL");
    const killedAt = performance.now();
    expect((await clientOf(api).finished(id)).state).toBe("SUCCEEDED");
    expect(performance.now() - killedAt).toBeLessThan(40_000);
  });
});
