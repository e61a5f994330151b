import { Field, GraphQLISODateTime, Int, ObjectType, registerEnumType } from "type-graphql";
import { LimitKind, LimitLevel } from "../generated/prisma/enums.ts";
import type { Reason } from "./schedule.ts";

@ObjectType({ description: "How many generations start before this one if nothing else arrives." })
export class QueuePosition {
  @Field(() => Int, { description: "0: it is the next one." })
  startsBefore!: number;

  @Field(() => Boolean, {
    description: "Worked out from the pace of its queue: beyond the next 1000 starts nothing is exact.",
  })
  isEstimate!: boolean;
}

const SchedulingReasonKind: { readonly [Kind in Reason["kind"]]: Kind } = {
  TURN: "TURN",
  WORKERS_BUSY: "WORKERS_BUSY",
  LIMIT: "LIMIT",
  NO_WORKER: "NO_WORKER",
  PAUSE: "PAUSE",
  TENANT_SUSPENDED: "TENANT_SUSPENDED",
  BATCH: "BATCH",
  RUNNING: "RUNNING",
};
registerEnumType(SchedulingReasonKind, {
  name: "SchedulingReasonKind",
  description: "What a generation waits for; RUNNING when it does not wait any more.",
  valuesConfig: {
    TURN: { description: "Others start before it: `before` says whose." },
    WORKERS_BUSY: { description: "It is the next one, and waits for a worker to be done: expected at `until`." },
    LIMIT: { description: "As much runs as a limit allows: `limit` says which." },
    NO_WORKER: { description: "No worker that lives serves its preset." },
    PAUSE: { description: "An attempt failed; the next one comes after `until`." },
    TENANT_SUSPENDED: { description: "Nothing of a suspended tenant starts." },
    BATCH: { description: "BATCH waits for other classes, until `until` at the latest." },
    RUNNING: { description: "It runs since `since`." },
  },
});

@ObjectType({ description: "Starts that come before that of a generation, counted by whose they are." })
export class StartsBefore {
  @Field(() => Int)
  ofOtherTenants!: number;

  @Field(() => Int, { description: "Of other members of the same tenant." })
  ofOtherMembers!: number;

  @Field(() => Int, { description: "Of the member who made it." })
  ofOwn!: number;

  @Field(() => Boolean)
  isEstimate!: boolean;
}

@ObjectType({ description: "A limit that is reached." })
export class ReachedLimit {
  @Field(() => LimitLevel)
  level!: LimitLevel;

  @Field(() => LimitKind)
  kind!: LimitKind;

  @Field(() => Int, { nullable: true, description: "Null for the platform's." })
  max!: number | null;
}

@ObjectType({ description: "One reason why a generation does not run yet." })
export class SchedulingReason {
  @Field(() => SchedulingReasonKind)
  kind!: Reason["kind"];

  @Field(() => String, { description: "For people." })
  message!: string;

  @Field(() => StartsBefore, { nullable: true })
  before!: StartsBefore | null;

  @Field(() => ReachedLimit, { nullable: true })
  limit!: ReachedLimit | null;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "When this reason is over." })
  until!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true })
  since!: Date | null;
}
