import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { newSecret } from "../../src/auth/api-key.ts";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { hasPostgres, type PostgresServer, startPostgres } from "../support/postgres-server.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { startTcpWorker, type TcpWorker } from "../support/tcp-worker.ts";

const KEY = newSecret();
const ASKED = 12;

if (!hasPostgres) test.skip("processes that freeze: there is no PostgreSQL on this machine", () => {});

describe.skipIf(!hasPostgres || process.env["SLOW_TESTS"] !== "1")("when a process freezes, and goes on later", () => {
  const folder = temporaryFolder();
  let postgres: PostgresServer;
  let url: string;
  let worker: TcpWorker;
  let apis: readonly ServerProcess[];
  let leader: ServerProcess;
  let standby: ServerProcess;

  const clientOf = (api: ServerProcess | undefined) => new GraphqlClient(/ready at (\S+)/.exec(api!.log)![1]!, KEY);
  const startedBy = (server: ServerProcess): string[] =>
    server.logged("attempt started").map(({ generationId }) => generationId);

  beforeAll(async () => {
    postgres = await startPostgres({ fsync: "off" });
    url = await postgres.createDatabase();
    worker = await startTcpWorker({ modelFolder: join(inject("templateData"), "models/tiny") });
    const shared = {
      DATABASE_URL: url,
      POOL_WORKERS: worker.target,
      BOOTSTRAP_ADMIN_KEY: KEY,
      URL_SIGNING_SECRET: randomBytes(32).toString("hex"),
    };
    const start = (ROLE: string) => ServerProcess.start(folder.path, { ...shared, ROLE });
    apis = [await start("api"), await start("api")];
    leader = await start("dispatcher");
    await vi.waitFor(
      async () => expect((await clientOf(apis[0]).query("{ presets { name } }")).presets).toHaveLength(1),
      { timeout: 60_000, interval: 100 },
    );
    standby = await start("dispatcher");
  }, 120_000);

  afterAll(async () => {
    for (const server of [...apis, leader, standby]) await server.end("SIGKILL");
    const db = await Database.open(
      await openPostgresDatabase({ url, logger: createLogger("silent") }),
      "prisma/migrations",
    );
    await expectBalancedLedger(db);
    await db.close();
    await worker.stop();
    postgres.stop();
    folder.remove();
  });

  slowTest(
    "a dispatcher beyond its leases has lost them: the other one finishes, and it starts and ends nothing any more",
    async () => {
      const client = clientOf(apis[0]);
      const id = await client.create({ prompt: "drawn twice, finished once", count: 4, steps: 36 });
      for await (const { __typename } of client.events(id)) if (__typename === "StartedEvent") break;
      expect(startedBy(leader)).toContain(fromGlobalId("Generation", id));
      process.kill(leader.pid, "SIGSTOP");
      expect((await client.finished(id)).state).toBe("SUCCEEDED");
      process.kill(leader.pid, "SIGCONT");
      await leader.says('"result":"gone"');
      const frozenStarts = startedBy(leader).length;
      const next = await client.create({ prompt: "asked for when it was back", steps: 2 });
      expect((await client.finished(next)).state).toBe("SUCCEEDED");
      expect(startedBy(leader)).toHaveLength(frozenStarts);
      expect(startedBy(standby)).toEqual(
        expect.arrayContaining([id, next].map((each) => fromGlobalId("Generation", each))),
      );
      const { attempts, seq, images } = await client.generation(id);
      const outcomes = attempts.map(({ outcome }: { outcome: string }) => outcome);
      expect([outcomes[0], outcomes.at(-1)]).toEqual(["ORPHANED", "SUCCEEDED"]);
      expect(outcomes.filter((outcome: string) => outcome === "SUCCEEDED")).toHaveLength(1);
      expect(seq).toBe(1 + 2 * attempts.length); // Queued, and of each attempt Started and its end
      expect(images).toHaveLength(4);
    },
    180_000,
  );

  slowTest(
    "an API server holds up nobody who asks another one, for longer than its transactions may idle, and nothing is queued twice",
    async () => {
      const [frozen, other] = [clientOf(apis[0]), clientOf(apis[1])];
      const inputs = Array.from({ length: ASKED }, (_, i) => newInput({ prompt: `asked of both: ${i}`, steps: 1 }));
      const asked = inputs.map((input) => frozen.send(CREATE, { input }).catch(() => undefined));
      process.kill(apis[0]!.pid, "SIGSTOP");
      const answers = await Promise.all(inputs.map((input) => untilCreated(other, input)));
      process.kill(apis[0]!.pid, "SIGCONT");
      for (const [i, late] of (await Promise.all(asked)).entries()) {
        const created = late?.data?.createGeneration?.generation?.id;
        if (created !== undefined) expect(created).toBe(answers[i]);
      }
      expect(new Set(answers).size).toBe(ASKED);
      for (const id of answers) expect((await other.finished(id)).state).toBe("SUCCEEDED");
      const { generations } = await other.query("{ generations(first: 100) { nodes { textToImage { prompt } } } }");
      const prompts = generations.nodes.map(({ textToImage }: any) => textToImage.prompt);
      expect(prompts.filter((prompt: string) => prompt.startsWith("asked of both"))).toHaveLength(ASKED);
      expect((await frozen.query("{ viewer { role } }")).viewer.role).toBeDefined();
    },
    180_000,
  );
});

/** With the same key until it is acknowledged, as clients do. */
async function untilCreated(client: GraphqlClient, input: object): Promise<string> {
  for (;;) {
    const { data } = await client.send(CREATE, { input });
    const id = data?.createGeneration?.generation?.id;
    if (id !== undefined) return id;
  }
}
