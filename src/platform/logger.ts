/** Structured logs. Messages are constant phrases, facts are fields; prompts, keys and picture bytes are never logged. Records of what is traced name the trace. */
import { type Logger, pino } from "pino";
import { activeTraceIds } from "./tracing.ts";

export type { Logger };

export const createLogger = (level: string): Logger =>
  pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, mixin: activeTraceIds },
    pino.destination({ dest: 2, sync: true }),
  );
