/** Structured logs. Messages are constant phrases, facts are fields; prompts, keys and picture bytes are never logged. */
import { type Logger, pino } from "pino";

export type { Logger };

export const createLogger = (level: string): Logger =>
  pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
