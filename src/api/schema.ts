/** The executable schema, from the resolvers' classes. */
import "reflect-metadata";
import { createPubSub } from "@graphql-yoga/subscription";
import { type GraphQLSchema, isInputObjectType } from "graphql";
import { buildSchema, type NonEmptyArray } from "type-graphql";
import { ApiKeyResolver } from "../auth/api-key.resolver.ts";
import { BatchResolver, CreateBatchPayloadResolver } from "../generation/batch.resolver.ts";
import { CreatePayloadResolver } from "../generation/create-payload.resolver.ts";
import { DeadLetterResolver } from "../generation/dead-letter.resolver.ts";
import {
  AttemptFailedEvent,
  FinishedEvent,
  PreviewEvent,
  ProgressEvent,
  QueuedEvent,
  StartedEvent,
  TextDeltaEvent,
} from "../generation/event.type.ts";
import { EventsResolver } from "../generation/events.resolver.ts";
import { GenerationResolver } from "../generation/generation.resolver.ts";
import { DeadlineError, PresetError } from "../generation/generation-payload.type.ts";
import { ImageResolver } from "../generation/image.resolver.ts";
import { ReplayResolver } from "../generation/replay.resolver.ts";
import { PolicyResolver } from "../moderation/policy.resolver.ts";
import { ModerationError } from "../moderation/verdict.type.ts";
import { GenericError, VersionError } from "../platform/user-error.type.ts";
import { PresetResolver } from "../pool/preset.resolver.ts";
import { WorkerResolver } from "../pool/worker.resolver.ts";
import { CreditsResolver } from "../quota/credits.resolver.ts";
import { LimitResolver } from "../quota/limit.resolver.ts";
import { QuotaError } from "../quota/quota.type.ts";
import { UsageResolver } from "../quota/usage.resolver.ts";
import { DeletionResolver } from "../retention/deletion.resolver.ts";
import { ErasureResolver } from "../retention/erasure.resolver.ts";
import { RetentionResolver } from "../retention/retention.resolver.ts";
import { FairnessResolver } from "../scheduler/fairness.resolver.ts";
import { EstimateResolver, QueuedEventResolver, ScheduleResolver } from "../scheduler/schedule.resolver.ts";
import { AuditLogResolver } from "../tenancy/audit-log.resolver.ts";
import { MemberResolver } from "../tenancy/member.resolver.ts";
import { PlatformResolver } from "../tenancy/platform.resolver.ts";
import { ViewerResolver } from "../tenancy/viewer.resolver.ts";
import { UploadResolver } from "../upload/upload.resolver.ts";
import { NodeResolver } from "./node.resolver.ts";
import { RateLimitResolver } from "./rate-limit.resolver.ts";

type ResolverClass = abstract new (...services: never[]) => object;

const RESOLVERS: NonEmptyArray<ResolverClass> = [
  ApiKeyResolver,
  GenerationResolver,
  CreatePayloadResolver,
  ReplayResolver,
  DeadLetterResolver,
  BatchResolver,
  CreateBatchPayloadResolver,
  ImageResolver,
  UploadResolver,
  DeletionResolver,
  ErasureResolver,
  RetentionResolver,
  EventsResolver,
  PresetResolver,
  WorkerResolver,
  ViewerResolver,
  MemberResolver,
  PlatformResolver,
  AuditLogResolver,
  CreditsResolver,
  RateLimitResolver,
  LimitResolver,
  UsageResolver,
  PolicyResolver,
  ScheduleResolver,
  QueuedEventResolver,
  EstimateResolver,
  FairnessResolver,
  NodeResolver,
];

/** Types that are reached only through the interfaces they implement. */
const IMPLEMENTATIONS = [
  GenericError,
  VersionError,
  QuotaError,
  PresetError,
  DeadlineError,
  ModerationError,
  QueuedEvent,
  StartedEvent,
  AttemptFailedEvent,
  FinishedEvent,
  ProgressEvent,
  PreviewEvent,
  TextDeltaEvent,
];

/** Inputs of which exactly one field must be given; TypeGraphQL has no decorator for that. */
const ONE_OF_INPUTS = ["TaskInput", "PictureInput"];

/** @param instances one resolver object of each class; none are needed to print the schema */
export async function makeSchema(instances: readonly object[]): Promise<GraphQLSchema> {
  const byClass = new Map(instances.map((instance) => [instance.constructor, instance]));
  const schema = await buildSchema({
    resolvers: RESOLVERS as unknown as NonEmptyArray<() => object>,
    orphanedTypes: IMPLEMENTATIONS,
    container: { get: (resolver) => byClass.get(resolver) },
    validate: false,
    pubSub: createPubSub(), // demanded, though every subscription brings its own source
  });
  for (const name of ONE_OF_INPUTS) {
    const type = schema.getType(name);
    if (isInputObjectType(type)) type.isOneOf = true;
  }
  return schema;
}
