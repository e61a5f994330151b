/** The parts of a server as processes of their own: an API, a dispatcher, PostgreSQL, Redis, and workers that compute nothing. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { newSecret } from "../../src/auth/api-key.ts";
import { insertApiKey } from "../../src/auth/auth.store.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { type PostgresServer, startPostgres } from "../../test/support/postgres-server.ts";
import { RedisServer } from "../../test/support/redis-server.ts";
import { type Pace, type PacedWorker, startPacedWorker } from "./paced-worker.ts";
import { cpuMsOf } from "./processes.ts";

const MAIN = join(import.meta.dirname, "../../src/main.js");
/** Of the sockets of one key, as many as a server lets it have. */
export const SOCKETS_PER_KEY = 100;

/** What the parts have used up so far. */
export interface Figures {
  readonly atMs: number;
  readonly commits: number;
  readonly inserted: number;
  readonly updated: number;
  readonly walBytes: number;
  readonly storedBytes: number;
  readonly redisCommands: number;
  readonly apiCpuMs: number;
  readonly dispatcherCpuMs: number;
}

export class Parts {
  private constructor(
    private readonly folder: string,
    private readonly postgres: PostgresServer,
    private readonly redis: RedisServer,
    private readonly workers: readonly PacedWorker[],
    readonly admin: pg.Client,
    /** Of members of one tenant each. */
    readonly keys: readonly string[],
    private readonly children: { readonly api: ChildProcess; readonly dispatcher: ChildProcess },
    readonly url: string,
  ) {}

  static async start(
    pace: Pace,
    { workers: count, keys: keyCount }: { workers: number; keys: number },
  ): Promise<Parts> {
    const folder = mkdtempSync(join(tmpdir(), "atelier-bench-"));
    const postgres = await startPostgres();
    const redis = await RedisServer.start();
    const url = await postgres.createDatabase();
    const workers = await Promise.all(Array.from({ length: count }, () => startPacedWorker(pace)));
    const keys = await makeKeys(url, keyCount);
    const environment = {
      ...process.env,
      PORT: "0",
      DATA_DIR: folder,
      DATABASE_URL: url,
      REDIS_URL: redis.url,
      POOL_WORKERS: workers.map(({ target }) => target).join(),
      URL_SIGNING_SECRET: randomBytes(32).toString("hex"),
      RATE_LIMIT_POINTS: "100000000",
      RATE_LIMIT_POINTS_PER_SECOND: "1000000",
      LOG_LEVEL: "warn",
    };
    const start = async (role: string) => {
      const env = { ...environment, ROLE: role, PGAPPNAME: `atelier ${role}` };
      const child = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "ignore", "pipe"] });
      return { child, output: await untilReady(child) };
    };
    const [api, dispatcher] = await Promise.all([start("api"), start("dispatcher")]);
    const admin = new pg.Client({ connectionString: url.replace(/\/\/[^@]*@/, "//admin@"), application_name: "bench" });
    await admin.connect();
    const address = /ready at (\S+)/.exec(api.output)?.[1] ?? "";
    const children = { api: api.child, dispatcher: dispatcher.child };
    return new Parts(folder, postgres, redis, workers, admin, keys, children, address);
  }

  get apiPid(): number {
    return this.children.api.pid ?? 0;
  }

  get dispatcherPid(): number {
    return this.children.dispatcher.pid ?? 0;
  }

  /** Pictures, and nothing else. */
  get imageFolder(): string {
    return join(this.folder, "images");
  }

  /** PostgreSQL tells of what its connections did when they have been idle for a second. */
  async figures(): Promise<Figures> {
    const { rows } = await this.admin.query(
      `select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
        pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as "walBytes",
        (select sum(pg_total_relation_size(c.oid))::float8 from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and n.nspname = 'public') as "storedBytes"
      from pg_stat_database where datname = current_database()`,
    );
    return {
      ...rows[0],
      atMs: performance.now(),
      redisCommands: await this.redis.figure("total_commands_processed"),
      apiCpuMs: cpuMsOf(this.apiPid),
      dispatcherCpuMs: cpuMsOf(this.dispatcherPid),
    };
  }

  /** The answer's data. */
  async ask<Data>(key: string, query: string, variables: object = {}): Promise<Data> {
    const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
    const response = await fetch(this.url, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
    const { data, errors } = (await response.json()) as { data: Data; errors?: unknown };
    if (errors !== undefined) throw new Error(JSON.stringify(errors));
    return data;
  }

  /** By the name that they gave. */
  async connections(): Promise<Record<string, number>> {
    const { rows } = await this.admin.query(
      "select application_name as name, count(*)::int from pg_stat_activity where application_name like 'atelier %' group by 1",
    );
    return Object.fromEntries(rows.map(({ name, count }) => [name, count]));
  }

  async stop(): Promise<void> {
    await this.admin.end();
    for (const child of Object.values(this.children)) {
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("close", resolve));
    }
    for (const worker of this.workers) worker.stop();
    await this.redis.stop();
    this.postgres.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function makeKeys(url: string, count: number): Promise<readonly string[]> {
  const engine = await openPostgresDatabase({ url, logger: createLogger("warn") });
  const db = await Database.open(engine, join(import.meta.dirname, "../../../prisma/migrations"));
  const keys = await db.transaction(asPlatform, async (tx) => {
    const made: string[] = [];
    for (let i = 0; i < count; i++) {
      const secret = newSecret();
      const tenantId = await insertTenant(tx, `Tenant ${i}`);
      const userId = await insertMember(tx, { tenantId, role: "MEMBER", name: "member", isPlatformAdmin: false });
      await insertApiKey(tx, { tenantId, userId, name: "bench", secret });
      await new QuotaService().grant(tx, tenantId, { credits: 10n ** 9n, reason: "bench" });
      made.push(secret);
    }
    return made;
  });
  await db.close();
  return keys;
}

async function untilReady(child: ChildProcess): Promise<string> {
  let output = "";
  while (!output.includes("is ready")) {
    output += await new Promise<string>((resolve, reject) => {
      child.stderr?.once("data", (chunk) => resolve(String(chunk)));
      child.once("close", () => reject(new Error(`a server did not start:\n${output}`)));
    });
  }
  child.stderr?.resume();
  return output;
}
