import { Field, GraphQLISODateTime, InputType, Int, ObjectType, registerEnumType } from "type-graphql";
import { UserError } from "../platform/user-error.type.ts";

export const WorkerState = {
  NOT_READY: "NOT_READY",
  READY: "READY",
  BUSY: "BUSY",
  QUARANTINED: "QUARANTINED",
  DRAINING: "DRAINING",
  DRAINED: "DRAINED",
  GONE: "GONE",
} as const;
export type WorkerState = keyof typeof WorkerState;
registerEnumType(WorkerState, {
  name: "WorkerState",
  description:
    "NOT_READY: it is there, and does not serve yet. QUARANTINED: it failed, and gets nothing for a while. DRAINING, DRAINED: it gets nothing more, and still runs something or not. GONE: nobody has seen it lately.",
});

@ObjectType()
export class WorkerPreset {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: "SHA-256 of the built model." })
  buildDigest!: string;
}

@ObjectType({ description: "A process that draws, as the leader of its pool knows it." })
export class Worker {
  @Field(() => String)
  pool!: string;

  @Field(() => String, { description: "Within its pool." })
  name!: string;

  @Field(() => WorkerState)
  state!: WorkerState;

  @Field(() => Int, { description: "Generations that it can draw at a time; 0 while it does not serve." })
  slots!: number;

  @Field(() => Int, { description: "Generations that it can prepare beside them." })
  standby!: number;

  @Field(() => [WorkerPreset])
  presets!: readonly WorkerPreset[];

  @Field(() => Int, { description: "Attempts that it runs." })
  running!: number;

  @Field(() => GraphQLISODateTime, { description: "When it was first seen, or came back." })
  since!: Date;

  @Field(() => GraphQLISODateTime, { description: "When the leader last told of it: every ten seconds." })
  seenAt!: Date;

  @Field(() => Int, { description: "Times that it was quarantined." })
  faults!: number;

  @Field(() => GraphQLISODateTime, { nullable: true })
  quarantinedUntil!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Since when it is to get nothing more." })
  drainRequestedAt!: Date | null;
}

@ObjectType()
export class WorkerPayload {
  @Field(() => Worker, { nullable: true })
  worker?: Worker;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@InputType()
export class ResumeWorkerInput {
  @Field(() => String)
  pool!: string;

  @Field(() => String)
  name!: string;

  @Field(() => String, { description: "For the platform's audit log." })
  reason!: string;
}

@InputType()
export class DrainWorkerInput extends ResumeWorkerInput {
  @Field(() => Boolean, {
    defaultValue: false,
    description:
      "What it runs stops after its current step, and goes on from there on another worker. Otherwise it runs to its end.",
  })
  yieldRunning!: boolean;
}
