import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { ProgressLine } from "../../src/cli/progress-line.ts";

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const NO_WRAP = "\x1b[?7l";
const WRAP = "\x1b[?7h";

function setup({ isTTY }: { isTTY: boolean }) {
  let written = "";
  const stream = new Writable({
    write(chunk, _, done) {
      written += String(chunk);
      done();
    },
  });
  const line = new ProgressLine(Object.assign(stream, { isTTY, columns: 120 }) as unknown as NodeJS.WriteStream);
  /** What the line reads when it is left now. */
  const left = (): string => {
    line.end();
    return written.split("\x1b[1G").at(-1)!.split("\x1b")[0]!;
  };
  return { line, left, written: () => written };
}

const progress = { __typename: "ProgressEvent", seq: 2, stage: "DRAWING", step: 5, totalSteps: 36 } as const;

test("a queued generation has no numbers", () => {
  const { line, left } = setup({ isTTY: true });
  line.show({ __typename: "QueuedEvent", seq: 1 });
  expect(left()).toBe("queued");
});

test("a running one shows its steps, and the server's own estimate", () => {
  const { line, left } = setup({ isTTY: true });
  line.show({ ...progress, etaMs: 420 });
  expect(left()).toMatch(/^drawing {3}█{4}░{28} step 5\/36 \| 0\.4 s left$/);
});

test("without an estimate none is shown", () => {
  const { line, left } = setup({ isTTY: true });
  line.show({ ...progress, etaMs: null });
  expect(left()).toMatch(/ step 5\/36$/);
});

test("a second attempt goes back to words", () => {
  const { line, left } = setup({ isTTY: true });
  line.show({ ...progress, etaMs: 420 });
  line.show({ __typename: "AttemptFailedEvent", seq: 3, willRetry: true });
  expect(left()).toBe("trying again");
});

test("the terminal gets its cursor and its wrapping back", () => {
  const { line, written } = setup({ isTTY: true });
  line.show({ ...progress, etaMs: 420 });
  expect(written()).toContain(HIDE_CURSOR);
  expect(written()).toContain(NO_WRAP);
  line.end();
  expect(written().lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(written().lastIndexOf(HIDE_CURSOR));
  expect(written().lastIndexOf(WRAP)).toBeGreaterThan(written().lastIndexOf(NO_WRAP));
});

test("nothing is written where there is no terminal", () => {
  const { line, written } = setup({ isTTY: false });
  line.show({ __typename: "QueuedEvent", seq: 1 });
  line.show({ ...progress, etaMs: 420 });
  line.end();
  expect(written()).toBe("");
});
