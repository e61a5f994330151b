/** What waits in one line: the queues of a pool, by their names. */
import type { Priority } from "../generated/prisma/enums.ts";

/** Generations of one class and preset that one member queued with one key, oldest first. */
export interface QueueName {
  readonly tenantId: string;
  readonly userId: string;
  /** Null for one who signed in. */
  readonly apiKeyId: string | null;
  readonly priority: Priority;
  readonly preset: string;
}

/** A queue in which something waits. */
export interface WaitingQueue extends QueueName {
  /** When its oldest one was asked for. */
  readonly since: Date;
}

export const keyOf = ({ tenantId, userId, apiKeyId, priority, preset }: QueueName): string =>
  `${tenantId} ${userId} ${apiKeyId ?? ""} ${priority} ${preset}`;
