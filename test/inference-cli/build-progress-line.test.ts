import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { BuildProgressLine } from "../../inference/commands/build-progress-line.ts";

function setup(isTTY: boolean) {
  let now = 0;
  const written: string[] = [];
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 80, cursorTo() {}, clearLine() {} });
  stream.on("data", (chunk: Buffer) => written.push(chunk.toString()));
  const line = new BuildProgressLine(stream as unknown as NodeJS.WriteStream, () => now);
  const pass = (ms: number): void => {
    now += ms;
  };
  return { line, pass, text: () => written.join("") };
}

test("without a terminal there is a line every ten seconds, and none for a short build", () => {
  const { line, pass, text } = setup(false);
  for (const share of [0, 0.1, 0.2]) {
    line.show({ stage: "weights", share });
    pass(4000);
  }
  expect(text()).toBe("");
  line.show({ stage: "weights", share: 0.399 });
  line.show({ stage: "weights", share: 0.5 });
  pass(10_000);
  line.show({ stage: "digest", share: 0.1 });
  line.end();
  expect(text()).toBe("building: writing weights, 39 %\nbuilding: computing the digest, 10 %\n");
});

test("a terminal shows a bar with what is being done", () => {
  const { line, text } = setup(true);
  line.show({ stage: "weights", share: 0.5 });
  line.end();
  expect(text()).toContain("50 % | writing weights");
  expect(text()).not.toContain("building:");
});
