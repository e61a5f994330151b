import { describe, expect, inject, onTestFinished, test } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { CREATE, type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { hasPostgres, type PostgresServer, startPostgres } from "../support/postgres-server.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { until } from "../support/until.ts";

const KILLS = 3;

describe("when the PostgreSQL server", () => {
  if (!hasPostgres) {
    test.skip("there is none on this machine", () => {});
    return;
  }

  /** With requests coming in all the time. */
  const disturbances = {
    async dies(postgres: PostgresServer, untilNoticed: () => Promise<void>) {
      await postgres.kill();
      await untilNoticed();
      await postgres.restart();
    },
    "is restarted by its operator": (postgres: PostgresServer) => postgres.restartInOrder(),
  };

  for (const [what, disturb] of Object.entries(disturbances))
    slowTest(
      `${what}, nothing that was acknowledged is lost, and all of it ends once`,
      async () => {
        const postgres = await startPostgres();
        const url = await postgres.createDatabase();
        const folder = temporaryFolder(inject("templateData"));
        const server = await ServerProcess.start(folder.path, { DATABASE_URL: url });
        onTestFinished(async () => {
          isOver = true;
          await Promise.allSettled(asking);
          await server.end("SIGKILL");
          postgres.stop();
          folder.remove();
        });
        const { client } = server;
        let isOver = false;
        let failures = 0;
        const acknowledged: string[] = [];
        const asking = Array.from({ length: 3 }, async () => {
          while (!isOver) acknowledged.push(await untilAcknowledged(client, () => failures++));
        });
        for (let kill = 0; kill < KILLS; kill++) {
          const [before, failed] = [acknowledged.length, failures];
          await until(() => expect(acknowledged.length).toBeGreaterThan(before + 3));
          const untilNoticed = () => until(() => expect(failures).toBeGreaterThan(failed + 2));
          await disturb(postgres, untilNoticed);
        }
        const after = acknowledged.length;
        await until(() => expect(acknowledged.length).toBeGreaterThan(after + 3));
        isOver = true;
        await Promise.all(asking);
        for (const id of acknowledged) {
          const { seq, state, attempts } = await until(async () => {
            const generation = await client.generation(id);
            expect(generation.finishedAt).not.toBeNull();
            return generation;
          });
          expect(state).toBe("SUCCEEDED");
          expect(attempts.filter(({ outcome }: any) => outcome === "SUCCEEDED")).toHaveLength(1);
          expect(seq).toBe(1 + 2 * attempts.length); // Queued, and of each attempt Started and AttemptFailed or Finished
        }
        expect(new Set(acknowledged).size).toBe(acknowledged.length);
        expect(await server.end("SIGTERM")).toBe(0);
        const engine = await openPostgresDatabase({ url, logger: createLogger("silent") });
        const db = await Database.open(engine, "prisma/migrations");
        await expectBalancedLedger(db);
        await db.close();
      },
      300_000,
    );
});

/** Asks with the same key until it is answered, as clients do. */
async function untilAcknowledged(client: GraphqlClient, failed: () => void): Promise<string> {
  const input = newInput({ prompt: "a red circle", steps: 2 });
  for (;;) {
    const { data, errors } = await client.send(CREATE, { input });
    if (errors === undefined) {
      expect(data.createGeneration.userErrors).toEqual([]);
      return data.createGeneration.generation.id;
    }
    failed();
  }
}
