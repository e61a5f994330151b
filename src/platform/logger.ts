/** Structured logs. Messages are constant phrases, facts are fields; prompts, keys and picture bytes are never logged. Records of what is traced name the trace. */
import { type Logger, pino } from "pino";
import { activeTraceIds } from "./tracing.ts";

export type { Logger };

export const createLogger = (level: string): Logger =>
  pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, mixin: activeTraceIds },
    pino.destination({ dest: 2, sync: true }),
  );

/** A record that another process wrote, with facts of ours; any other line as it is. */
export function relay(logger: Logger, line: string, facts: object): void {
  const record = parsed(line);
  if (record === undefined) logger.warn({ ...facts, output: line }, "output of a process");
  else {
    const { level, time: _, msg, ...fields } = record;
    logger[level]({ ...fields, ...facts }, msg);
  }
}

type Level = "trace" | "debug" | "info" | "warn" | "error" | "fatal";

function parsed(line: string): { readonly level: Level; readonly msg: string; readonly time?: unknown } | undefined {
  try {
    const record = JSON.parse(line);
    const level = pino.levels.labels[record.level];
    return level !== undefined && typeof record.msg === "string" ? { ...record, level } : undefined;
  } catch {
    return undefined;
  }
}
