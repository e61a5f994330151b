/** A server: starts its parts in their order, and stops them in the other one. services.ts makes them. */

import "reflect-metadata";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { makeSchema } from "./api/schema.ts";
import { checkAddress } from "./api/server.ts";
import { bootstrap, bootstrapAdmin, type Credentials } from "./bootstrap.ts";
import type { Clock } from "./platform/clock.ts";
import { type Config, ROOT } from "./platform/config.ts";
import { Database, type DatabaseEngine } from "./platform/database.ts";
import { DatabaseClock } from "./platform/database-clock.ts";
import { openEmbeddedDatabase } from "./platform/database-embedded.ts";
import { openPostgresDatabase } from "./platform/database-postgres.ts";
import { invariant } from "./platform/errors.ts";
import { lockFolder } from "./platform/folder-lock.ts";
import { Closables } from "./platform/lifecycle.ts";
import { createLogger, type Logger } from "./platform/logger.ts";
import { Metrics } from "./platform/metrics.ts";
import { startTracing } from "./platform/tracing.ts";
import type { ExportOptions } from "./platform/tracing-export.ts";
import type { WorkerDiscovery } from "./pool/worker-discovery.ts";
import { WorkerPool } from "./pool/worker-pool.ts";
import { resolversOf } from "./resolvers.ts";
import { compose, type Services } from "./services.ts";
import { discoverWorkers } from "./workers.ts";

const MIGRATIONS = join(ROOT, "prisma/migrations");
const READY_POLL_MS = 50;

export interface App {
  /** Of this server, without a trailing slash. */
  readonly publicUrl: string;
  /** Undefined where no keys were made here. */
  readonly credentials: Credentials | undefined;
  readonly db: Database;
  /** Resolves when a generation can run; in a part of a server, when it does its part. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

/** Adapters to use in place of the embedded ones. */
export interface Adapters {
  readonly workers: WorkerDiscovery;
  readonly clock: Clock;
}

/**
 * Starts API, dispatcher or both in this process.
 * @param stop ends a start that is still under way, which then throws its reason
 */
export async function startApp(
  config: Config,
  adapters: Partial<Adapters> = {},
  stop: AbortSignal = new AbortController().signal,
): Promise<App> {
  const logger = createLogger(config.logLevel);
  const closables = new Closables();
  try {
    return await start(config, { logger, ...adapters }, closables, stop);
  } catch (error) {
    await closables.close().catch((err) => logger.error({ err }, "not everything could be closed"));
    throw error;
  }
}

async function start(
  config: Config,
  { logger, clock: givenClock, workers }: Partial<Adapters> & { logger: Logger },
  closables: Closables,
  stop: AbortSignal,
): Promise<App> {
  const { role } = config;
  if (config.isTraced) closables.add(await startTracing(exportOf(logger)));
  const metrics = new Metrics(config);
  const databaseClock = new DatabaseClock(logger);
  const clock = givenClock ?? databaseClock;
  const engineOf = lockedEngine(config, closables, logger);
  await checkAddress(config);
  // Workers take longest to start, and need nothing of the rest.
  const pool = new WorkerPool(workers ?? discoverWorkers(config, logger), clock, logger);
  const workersStarted = Promise.allSettled(role === "api" ? [] : [pool.start()]);
  closables.add(() => pool.stop());
  stop.addEventListener("abort", () => void pool.stop());
  const db = await Database.open(await engineOf(), MIGRATIONS, { metrics, logger });
  closables.add(() => db.close());
  await databaseClock.follow(db);
  closables.add(() => databaseClock.stop());
  const address = { publicUrl: config.publicUrl ?? "" };
  const services = compose(config, { db, clock, logger, metrics, pool, publicUrl: () => address.publicUrl });
  const { server, bus, buckets, poll, callers, duties, dispatcher, images } = services;
  closables.add(() => bus.close());
  closables.add(() => buckets.close());
  closables.add(() => poll.stop());
  closables.add(() => callers.stop());
  await images.prepare();
  if (role === "dispatcher") server.prepareHealth();
  else await server.prepare(await makeSchema(resolversOf(services)));
  const port = await server.listen(config);
  logger.info({ role, port }, "listening");
  address.publicUrl ||= `http://${urlHost(config.host)}:${port}`;
  closables.add(() => duties.stop());
  closables.add(() => dispatcher.stop(config.shutdownGraceMs));
  closables.add(() => server.stop());
  const credentials = await firstKeys(config, services, address.publicUrl);
  if (role !== "dispatcher") {
    poll.start();
    callers.start();
  }
  if (role !== "api") {
    duties.start();
    await dispatcher.start();
  }
  const [outcome] = await workersStarted;
  stop.throwIfAborted();
  if (outcome?.status === "rejected") throw outcome.reason;
  return {
    publicUrl: address.publicUrl,
    credentials,
    db,
    async ready() {
      while (role === "all" && !(await dispatcher.offerOnce()))
        await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    },
    stop: () => closables.close(),
  };
}

/** Spans that get lost are told once, however long that lasts. */
const exportOf = (logger: Logger): ExportOptions => ({
  serviceName: "atelier",
  onChange: (problem) =>
    problem === undefined ? logger.info("spans arrive again") : logger.warn({ err: problem }, "spans get lost"),
});

/** Takes the data folder at once, unless processes may share it. @returns what opens the database */
function lockedEngine(config: Config, closables: Closables, logger: Logger): () => Promise<DatabaseEngine> {
  const { dataDir, postgres } = config;
  const lock = config.isExclusive ? lockFolder(dataDir) : undefined;
  if (lock === undefined) mkdirSync(dataDir, { recursive: true });
  closables.add(() => lock?.release());
  if (postgres !== undefined) return () => openPostgresDatabase({ ...postgres, logger });
  invariant(lock !== undefined, "the embedded database is opened without a lock");
  return () => openEmbeddedDatabase(lock);
}

/** Parts of a server make no keys: whoever needs one says which. */
async function firstKeys(
  { role, bootstrapAdminKey, dataDir }: Config,
  services: Pick<Services, "db" | "quota">,
  publicUrl: string,
): Promise<Credentials | undefined> {
  if (bootstrapAdminKey !== undefined) await bootstrapAdmin(services, bootstrapAdminKey);
  if (bootstrapAdminKey !== undefined || role !== "all") return undefined;
  return bootstrap(services, { dataDir, url: `${publicUrl}/graphql` });
}

/** How a client on this machine names the address that the server listens on. */
function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}
