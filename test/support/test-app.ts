import { rmSync } from "node:fs";
import { inject } from "vitest";
import { type Adapters, type App, startApp } from "../../src/app.ts";
import { newSecret } from "../../src/auth/api-key.ts";
import { insertApiKey } from "../../src/auth/auth.store.ts";
import type { Credentials } from "../../src/bootstrap.ts";
import type { Role } from "../../src/generated/prisma/enums.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { loadConfig } from "../../src/platform/config.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { GraphqlClient } from "./graphql-client.ts";
import { copyTemplate } from "./template-data.ts";

export interface TestApp extends App {
  /** @param options.keepData for another start on the same folder */
  stop(options?: { keepData?: boolean }): Promise<void>;
  readonly credentials: Credentials;
  readonly dataDir: string;
  /** The bootstrap tenant's member and owner. */
  readonly member: GraphqlClient;
  readonly owner: GraphqlClient;
  /** A new member of the bootstrap tenant, or of a new tenant with these micro-credits. */
  addMember(role: Role, tenant?: { credits: bigint }): Promise<GraphqlClient>;
}

/** The whole server in this process, on a random port and a data folder of its own. */
export async function createTestApp(
  adapters: Partial<Adapters> = {},
  environment: NodeJS.ProcessEnv = {},
): Promise<TestApp> {
  const dataDir = environment["DATA_DIR"] ?? copyTemplate(inject("templateData"));
  const app = await startApp(
    loadConfig({
      PORT: "0",
      DATA_DIR: dataDir,
      LOG_LEVEL: "silent",
      WORKER_THREADS: "1",
      SHUTDOWN_GRACE_SECONDS: "0",
      ...environment,
    }),
    adapters,
  );
  await app.ready();
  const { credentials } = app;
  if (credentials === undefined) throw new Error("no keys were made");
  const client = (apiKey: string): GraphqlClient => new GraphqlClient(credentials.url, apiKey);
  return {
    ...app,
    credentials,
    dataDir,
    member: client(credentials.apiKey),
    owner: client(credentials.adminApiKey),
    async addMember(role, tenant) {
      const secret = newSecret();
      await app.db.transaction(asPlatform, async (tx) => {
        const own = (await tx.tenant.findFirstOrThrow({ orderBy: { id: "asc" } })).id;
        const tenantId = tenant === undefined ? own : await insertTenant(tx, "Another tenant");
        const userId = await insertMember(tx, { tenantId, role, name: role, isPlatformAdmin: false });
        await insertApiKey(tx, { tenantId, userId, name: "test", secret });
        if (tenant !== undefined)
          await new QuotaService().grant(tx, tenantId, { credits: tenant.credits, reason: "test" });
      });
      return client(secret);
    },
    async stop({ keepData = false } = {}) {
      await app.stop();
      if (!keepData) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
