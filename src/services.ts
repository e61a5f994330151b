/** Every service, constructed by hand with the adapters that the configuration chooses. */
import { join } from "node:path";
import { OperationGate } from "./api/operation-gate.ts";
import { ApiServer } from "./api/server.ts";
import { TrustedDocuments } from "./api/trusted-documents.ts";
import { AuthService } from "./auth/auth.service.ts";
import { CallerWatch } from "./auth/caller-watch.ts";
import { Oidc } from "./auth/oidc.ts";
import { BatchService } from "./generation/batch.service.ts";
import { BatchModeration } from "./generation/batch-moderation.ts";
import { BatchQueue } from "./generation/batch-queue.ts";
import { BatchResults } from "./generation/batch-results.ts";
import { FAILURE_RULES } from "./generation/failure-rules.ts";
import { GenerationService } from "./generation/generation.service.ts";
import { TERMINAL_STATES } from "./generation/generation.state.ts";
import { GenerationEvents } from "./generation/generation-events.ts";
import { type EndObserver, GenerationLifecycle } from "./generation/generation-lifecycle.ts";
import { MilestonePoll } from "./generation/milestone-poll.ts";
import { makeImageStore } from "./image-stores.ts";
import { HttpChecker } from "./moderation/http-checker.ts";
import { Moderation } from "./moderation/moderation.ts";
import { PolicyService } from "./moderation/policy.service.ts";
import { asAnyone, asTenant } from "./platform/access.ts";
import type { Clock } from "./platform/clock.ts";
import { type Config, ROOT } from "./platform/config.ts";
import type { Database } from "./platform/database.ts";
import type { Logger } from "./platform/logger.ts";
import type { Metrics } from "./platform/metrics.ts";
import { ReadSession } from "./platform/read-session.ts";
import { loadSecrets } from "./platform/secrets.ts";
import { PoolCatalog } from "./pool/pool-catalog.ts";
import type { WorkerPool } from "./pool/worker-pool.ts";
import { QuotaService } from "./quota/quota.service.ts";
import { UsageService } from "./quota/usage.service.ts";
import { DeletionService } from "./retention/deletion.service.ts";
import { ImagePurge } from "./retention/image-purge.ts";
import { TenantExport } from "./retention/tenant-export.ts";
import type { AttemptServices } from "./scheduler/attempt.ts";
import { Demand } from "./scheduler/demand.ts";
import { Dispatcher } from "./scheduler/dispatcher.ts";
import { Duties, type DutyServices } from "./scheduler/duties.ts";
import { PoolForecasts } from "./scheduler/pool-forecasts.ts";
import { Schedules } from "./scheduler/schedules.ts";
import { makeSharedState } from "./shared-state.ts";
import { SignedLinks } from "./storage/signed-links.ts";
import { StoredFiles } from "./storage/stored-files.ts";
import { UrlSigner } from "./storage/url-signer.ts";
import { PictureNormaliser } from "./upload/picture-normaliser.ts";
import { UploadService } from "./upload/upload.service.ts";
import { UploadReceiver } from "./upload/upload-receiver.ts";

/** What everything else stands on. */
export interface Foundations {
  readonly db: Database;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly pool: WorkerPool;
  /** Known only once the server listens. */
  readonly publicUrl: () => string;
}

export type Services = ReturnType<typeof compose>;

export function compose(config: Config, { db, clock, logger, metrics, pool, publicUrl }: Foundations) {
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
    duties: makeDuties(config, { ...attempts, batchQueue, purge, quota, forecasts: schedules.forecasts }),
    server,
  };
}

const makeDuties = ({ historyDays }: Config, services: Omit<DutyServices, "historyDays">): Duties =>
  new Duties({ ...services, historyDays });

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
