/** The composition root: constructs every service by hand and chooses the adapters. */

import "reflect-metadata";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { NodeResolver } from "./api/node.resolver.ts";
import { OperationGate } from "./api/operation-gate.ts";
import { RateLimitResolver } from "./api/rate-limit.resolver.ts";
import { makeSchema } from "./api/schema.ts";
import { ApiServer, checkAddress } from "./api/server.ts";
import { TrustedDocuments } from "./api/trusted-documents.ts";
import { ApiKeyResolver } from "./auth/api-key.resolver.ts";
import { ApiKeyService } from "./auth/api-key.service.ts";
import { AuthService } from "./auth/auth.service.ts";
import { CallerWatch } from "./auth/caller-watch.ts";
import { Oidc } from "./auth/oidc.ts";
import { bootstrap, bootstrapAdmin, type Credentials } from "./bootstrap.ts";
import { BatchResolver, CreateBatchPayloadResolver } from "./generation/batch.resolver.ts";
import { BatchService } from "./generation/batch.service.ts";
import { BatchModeration } from "./generation/batch-moderation.ts";
import { BatchQueue } from "./generation/batch-queue.ts";
import { BatchResults } from "./generation/batch-results.ts";
import { CreatePayloadResolver } from "./generation/create-payload.resolver.ts";
import { DeadLetterResolver } from "./generation/dead-letter.resolver.ts";
import { DeadLetterService } from "./generation/dead-letter.service.ts";
import { EventsResolver } from "./generation/events.resolver.ts";
import { FAILURE_RULES } from "./generation/failure-rules.ts";
import { GenerationResolver } from "./generation/generation.resolver.ts";
import { GenerationService } from "./generation/generation.service.ts";
import { TERMINAL_STATES } from "./generation/generation.state.ts";
import { GenerationEvents } from "./generation/generation-events.ts";
import { type EndObserver, GenerationLifecycle } from "./generation/generation-lifecycle.ts";
import { ImageResolver } from "./generation/image.resolver.ts";
import { MilestonePoll } from "./generation/milestone-poll.ts";
import { ReplayResolver } from "./generation/replay.resolver.ts";
import { ReplayService } from "./generation/replay.service.ts";
import { makeImageStore } from "./image-stores.ts";
import { HttpChecker } from "./moderation/http-checker.ts";
import { Moderation } from "./moderation/moderation.ts";
import { PolicyResolver } from "./moderation/policy.resolver.ts";
import { PolicyService } from "./moderation/policy.service.ts";
import { asAnyone, asTenant } from "./platform/access.ts";
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
import { ReadSession } from "./platform/read-session.ts";
import { loadSecrets } from "./platform/secrets.ts";
import { startTracing } from "./platform/tracing.ts";
import type { ExportOptions } from "./platform/tracing-export.ts";
import { PoolCatalog } from "./pool/pool-catalog.ts";
import { PresetResolver } from "./pool/preset.resolver.ts";
import { WorkerResolver } from "./pool/worker.resolver.ts";
import { WorkerService } from "./pool/worker.service.ts";
import type { WorkerDiscovery } from "./pool/worker-discovery.ts";
import { WorkerPool } from "./pool/worker-pool.ts";
import { CreditsResolver } from "./quota/credits.resolver.ts";
import { LimitResolver } from "./quota/limit.resolver.ts";
import { LimitService } from "./quota/limit.service.ts";
import { QuotaService } from "./quota/quota.service.ts";
import { UsageResolver } from "./quota/usage.resolver.ts";
import { UsageService } from "./quota/usage.service.ts";
import { DeletionResolver } from "./retention/deletion.resolver.ts";
import { DeletionService } from "./retention/deletion.service.ts";
import { ErasureResolver } from "./retention/erasure.resolver.ts";
import { ErasureService } from "./retention/erasure.service.ts";
import { ImagePurge } from "./retention/image-purge.ts";
import { RetentionResolver } from "./retention/retention.resolver.ts";
import { RetentionService } from "./retention/retention.service.ts";
import { TenantExport } from "./retention/tenant-export.ts";
import type { AttemptServices } from "./scheduler/attempt.ts";
import { Demand } from "./scheduler/demand.ts";
import { Dispatcher } from "./scheduler/dispatcher.ts";
import { Duties } from "./scheduler/duties.ts";
import { FairnessResolver } from "./scheduler/fairness.resolver.ts";
import { FairnessService } from "./scheduler/fairness.service.ts";
import { PoolForecasts } from "./scheduler/pool-forecasts.ts";
import { EstimateResolver, QueuedEventResolver, ScheduleResolver } from "./scheduler/schedule.resolver.ts";
import { Schedules } from "./scheduler/schedules.ts";
import { makeSharedState } from "./shared-state.ts";
import { SignedLinks } from "./storage/signed-links.ts";
import { StoredFiles } from "./storage/stored-files.ts";
import { UrlSigner } from "./storage/url-signer.ts";
import { AuditLogResolver } from "./tenancy/audit-log.resolver.ts";
import { AuditLogService } from "./tenancy/audit-log.service.ts";
import { MemberResolver } from "./tenancy/member.resolver.ts";
import { MemberService } from "./tenancy/member.service.ts";
import { PlatformResolver } from "./tenancy/platform.resolver.ts";
import { PlatformService } from "./tenancy/platform.service.ts";
import { TenancyService } from "./tenancy/tenancy.service.ts";
import { ViewerResolver } from "./tenancy/viewer.resolver.ts";
import { PictureNormaliser } from "./upload/picture-normaliser.ts";
import { UploadResolver } from "./upload/upload.resolver.ts";
import { UploadService } from "./upload/upload.service.ts";
import { UploadReceiver } from "./upload/upload-receiver.ts";
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

interface Foundations {
  readonly db: Database;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly pool: WorkerPool;
  /** Known only once the server listens. */
  readonly publicUrl: () => string;
}

type Services = ReturnType<typeof compose>;

function compose(config: Config, { db, clock, logger, metrics, pool, publicUrl }: Foundations) {
  const signer = new UrlSigner(loadSecrets(config.dataDir, config.urlSigningSecret).urlSigning);
  const links = new SignedLinks({ signer, clock, publicUrl, logger });
  const images = makeImageStore(config, { links, clock, logger, metrics });
  const { bus, buckets } = makeSharedState(config, { clock, logger, metrics });
  const quota = new QuotaService();
  const presets = new PoolCatalog(clock, config.priceFactors);
  const lifecycle = new GenerationLifecycle(db, quota, bus);
  lifecycle.observe(observerOf(metrics));
  const moderation = makeModeration(config, { db, clock, logger });
  const attempts = { db, lifecycle, bus, images, pool, moderation, clock, logger, metrics };
  const { dispatcher, schedules } = makeScheduling(config, attempts);
  const generations = new GenerationService({ db, lifecycle, presets, moderation, outlooks: schedules, logger });
  const batchModeration = new BatchModeration({ db, presets, moderation, clock });
  const batchQueue = new BatchQueue({ db, quota, lifecycle, moderation: batchModeration });
  const batches = new BatchService({ db, quota, presets, images, batchQueue });
  const batchResults = new BatchResults({ db, images, links });
  const usage = new UsageService({ db, links });
  const tenantExport = new TenantExport({ db, images, links, clock });
  const purge = new ImagePurge({ db, images, logger });
  if (config.role !== "api") new Demand({ db, clock, registry: metrics.registry });
  const poll = new MilestonePoll(db, logger, metrics);
  const callers = new CallerWatch({ db, clock, logger, metrics });
  const server = new ApiServer({
    auth: new AuthService(db, config.oidc && new Oidc({ ...config.oidc, clock, logger })),
    callers,
    generationEvents: new GenerationEvents({ db, bus, poll, generations, metrics }),
    files: new StoredFiles({ images, links }),
    batchResults,
    gate: new OperationGate(buckets),
    openReads: ({ tenantId }) => new ReadSession(db, asTenant(tenantId)),
    trustedDocuments: trustedDocumentsOf(config),
    isAllowedOrigin: (origin) => config.allowedOrigins.includes(origin) || origin === new URL(publicUrl()).origin,
    exports: [usage, tenantExport],
    uploads: new UploadReceiver({ db, images, links, logger }),
    metrics,
    metricsToken: config.metricsToken,
    isReady: () => isReady(config, db, presets),
    logger,
  });
  return {
    db,
    images,
    bus,
    quota,
    buckets,
    presets,
    generations,
    batches,
    batchResults,
    usage,
    checks: new PolicyService({ db, policies: moderation.policies, hasChecker: config.moderation !== undefined }),
    uploads: new UploadService({ db, images, links, normaliser: makeNormaliser(), quota }),
    tenantExport,
    deletions: new DeletionService({ db, purge, quota }),
    poll,
    callers,
    pool,
    dispatcher,
    schedules,
    duties: new Duties({ ...attempts, batchQueue, purge, quota, forecasts: schedules.forecasts }),
    server,
  };
}

function observerOf({ generationsEnded, attemptsEnded }: Metrics): EndObserver {
  // From 0 on, so that the first one is seen as an increase.
  for (const state of TERMINAL_STATES) generationsEnded.inc({ state }, 0);
  for (const [failureClass, { outcome }] of Object.entries(FAILURE_RULES))
    attemptsEnded.inc({ outcome, failure_class: failureClass }, 0);
  return {
    generationEnded: (state) => generationsEnded.inc({ state }),
    attemptEnded: ({ outcome, failureClass = "" }) => attemptsEnded.inc({ outcome, failure_class: failureClass }),
  };
}

/** A server with everything has workers that serve something; a part of one has its database. */
async function isReady({ role }: Config, db: Database, presets: PoolCatalog): Promise<boolean> {
  const offered = await db.transaction(asAnyone, (tx) => presets.list(tx));
  return offered.length > 0 || role !== "all";
}

function makeModeration(
  config: Config,
  { db, clock, logger }: Pick<Foundations, "db" | "clock" | "logger">,
): Moderation {
  const checker = config.moderation && new HttpChecker({ ...config.moderation, clock, logger });
  return new Moderation({ db, clock, checker });
}

const trustedDocumentsOf = ({ trustedDocuments }: Config): TrustedDocuments | undefined =>
  trustedDocuments === undefined ? undefined : TrustedDocuments.read(trustedDocuments);

const makeNormaliser = (): PictureNormaliser =>
  new PictureNormaliser({ program: join(ROOT, "dist/src/upload/normalise-picture.js") });

/** Forecasts know the workers of this process as long as it leads its pool, and of all others what their leader recorded. */
function makeScheduling({ ageingMs, pool: led }: Config, services: AttemptServices) {
  const { db, clock, pool } = services;
  const dispatcher = new Dispatcher(services, { pool: led, ageingMs });
  const workers = (name: string) => (name === led && dispatcher.leads ? pool.live() : undefined);
  return { dispatcher, schedules: new Schedules(db, new PoolForecasts({ db, clock, workers, ageingMs })) };
}

const resolversOf = ({
  db,
  buckets,
  generations,
  batches,
  batchResults,
  usage,
  quota,
  checks,
  uploads,
  deletions,
  tenantExport,
  schedules,
  duties,
  images,
  presets,
}: Services): readonly object[] => [
  new GenerationResolver(generations),
  new CreatePayloadResolver(),
  new ReplayResolver(new ReplayService(db, generations)),
  new DeadLetterResolver(new DeadLetterService(db)),
  new BatchResolver(batches, batchResults),
  new CreateBatchPayloadResolver(),
  new ImageResolver(images),
  new UploadResolver(uploads),
  new DeletionResolver(deletions),
  new ErasureResolver(new ErasureService({ db, onErased: () => duties.eraseSoon() })),
  new RetentionResolver(new RetentionService(db), tenantExport),
  new EventsResolver(),
  new PresetResolver(db, presets),
  new WorkerResolver(new WorkerService(db)),
  new ApiKeyResolver(new ApiKeyService(db)),
  new ViewerResolver(new TenancyService(db)),
  new MemberResolver(new MemberService(db)),
  new PlatformResolver(new PlatformService(db)),
  new AuditLogResolver(new AuditLogService(db)),
  new CreditsResolver(db),
  new RateLimitResolver(buckets),
  new LimitResolver(new LimitService({ db, quota })),
  new UsageResolver(usage),
  new PolicyResolver(checks),
  new ScheduleResolver(schedules),
  new QueuedEventResolver(schedules),
  new EstimateResolver(schedules),
  new FairnessResolver(new FairnessService(db)),
  new NodeResolver(),
];

/** How a client on this machine names the address that the server listens on. */
function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}
