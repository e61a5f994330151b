/** The future as admission needs it; whoever schedules provides this. */
import type { NewGeneration } from "./generation.store.ts";

/** What somebody thinks of asking for. */
export type WantedWork = Omit<NewGeneration, "id" | "deadlineMs">;
