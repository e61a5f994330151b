import { pino } from "pino";
import { expect, test } from "vitest";
import { relay } from "../../src/platform/logger.ts";

test("records of another process keep their level, words and facts; other lines are passed on as they are", () => {
  const lines: string[] = [];
  const logger = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(line) });
  const theirs: string[] = [];
  const their = pino({ base: null }, { write: (line: string) => void theirs.push(line) });
  their.error({ leaseId: "1", worker: "mine" }, "attempt failed");
  relay(logger, theirs[0]!, { worker: "local-1" });
  relay(logger, "killed", { worker: "local-1" });
  relay(logger, '{"level":"high","msg":"?"}', { worker: "local-1" });
  relay(logger, "null", { worker: "local-1" });
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: 50, leaseId: "1", worker: "local-1", msg: "attempt failed" },
    { level: 40, worker: "local-1", output: "killed", msg: "output of a process" },
    { level: 40, worker: "local-1", output: '{"level":"high","msg":"?"}', msg: "output of a process" },
    { level: 40, worker: "local-1", output: "null", msg: "output of a process" },
  ]);
});
