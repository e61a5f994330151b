/** Queued generations whose deadline has passed end as EXPIRED, free of charge. */

import type { GenerationLifecycle } from "../generation/generation-lifecycle.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { listPastDeadline } from "./queue.store.ts";

const BATCH = 100;
const FAILURE = { code: "DEADLINE", message: "The deadline passed before a worker was free." };

export class DeadlineDuty {
  constructor(private readonly services: { db: Database; lifecycle: GenerationLifecycle; logger: Logger }) {}

  /** @returns how many expired */
  async runOnce(): Promise<number> {
    const { db, logger } = this.services;
    const ids = await db.transaction(asDispatcher, (tx) => listPastDeadline(tx, BATCH));
    for (const id of ids) {
      await this.expire(id).catch((error) => logger.error({ generationId: id, err: error }, "deadline failed"));
    }
    return ids.length;
  }

  private async expire(id: string): Promise<void> {
    const { db, lifecycle } = this.services;
    const ended = await db.transaction(asDispatcher, (tx) =>
      lifecycle.endQueued(tx, id, { state: "EXPIRED", failure: FAILURE }),
    );
    if (ended !== undefined) lifecycle.announce(ended);
  }
}
