/** The resolvers of the API, each with the services that it answers from. */

import { NodeResolver } from "./api/node.resolver.ts";
import { RateLimitResolver } from "./api/rate-limit.resolver.ts";
import { ApiKeyResolver } from "./auth/api-key.resolver.ts";
import { ApiKeyService } from "./auth/api-key.service.ts";
import { BatchResolver, CreateBatchPayloadResolver } from "./generation/batch.resolver.ts";
import { CreatePayloadResolver } from "./generation/create-payload.resolver.ts";
import { DeadLetterResolver } from "./generation/dead-letter.resolver.ts";
import { DeadLetterService } from "./generation/dead-letter.service.ts";
import { EventsResolver } from "./generation/events.resolver.ts";
import { GenerationResolver } from "./generation/generation.resolver.ts";
import { ImageResolver } from "./generation/image.resolver.ts";
import { ReplayResolver } from "./generation/replay.resolver.ts";
import { ReplayService } from "./generation/replay.service.ts";
import { PolicyResolver } from "./moderation/policy.resolver.ts";
import { PresetResolver } from "./pool/preset.resolver.ts";
import { WorkerResolver } from "./pool/worker.resolver.ts";
import { WorkerService } from "./pool/worker.service.ts";
import { CreditsResolver } from "./quota/credits.resolver.ts";
import { LimitResolver } from "./quota/limit.resolver.ts";
import { LimitService } from "./quota/limit.service.ts";
import { UsageResolver } from "./quota/usage.resolver.ts";
import { DeletionResolver } from "./retention/deletion.resolver.ts";
import { ErasureResolver } from "./retention/erasure.resolver.ts";
import { ErasureService } from "./retention/erasure.service.ts";
import { RetentionResolver } from "./retention/retention.resolver.ts";
import { RetentionService } from "./retention/retention.service.ts";
import { FairnessResolver } from "./scheduler/fairness.resolver.ts";
import { FairnessService } from "./scheduler/fairness.service.ts";
import { EstimateResolver, QueuedEventResolver, ScheduleResolver } from "./scheduler/schedule.resolver.ts";
import type { Services } from "./services.ts";
import { AuditLogResolver } from "./tenancy/audit-log.resolver.ts";
import { AuditLogService } from "./tenancy/audit-log.service.ts";
import { MemberResolver } from "./tenancy/member.resolver.ts";
import { MemberService } from "./tenancy/member.service.ts";
import { PlatformResolver } from "./tenancy/platform.resolver.ts";
import { PlatformService } from "./tenancy/platform.service.ts";
import { TenancyService } from "./tenancy/tenancy.service.ts";
import { ViewerResolver } from "./tenancy/viewer.resolver.ts";
import { UploadResolver } from "./upload/upload.resolver.ts";

export const resolversOf = ({
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
