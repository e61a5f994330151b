/** The future as admission needs it; whoever schedules provides this. */
import type { NewGeneration } from "./generation.store.ts";

/** What somebody thinks of asking for. */
export type WantedWork = Omit<NewGeneration, "id" | "deadlineMs" | "parentId" | "traceparent">;

/** When something would end, from now. */
export interface Outlook {
  /** By the database's clock. */
  readonly now: Date;
  readonly expectedAt: Date;
  /** Even if everything took half of the time that is expected. */
  readonly earliestAt: Date;
}

export interface Outlooks {
  /** Of a generation that would be asked for now; undefined where nothing certain can be said: nothing like it ever ran, or no worker lives. */
  outlook(work: WantedWork): Promise<Outlook | undefined>;
}
