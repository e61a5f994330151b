import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { HAS_NO_CUDA } from "../support/cuda.ts";
import { runCommand } from "./command.ts";

const draw = (provider: string, out: string) =>
  runCommand(
    ...["run", "text-to-image", "--model", join(inject("templateData"), "models/tiny"), "--prompt", "a red circle"],
    ...["--steps", "1", "--diffusion-steps", "2", "--seed", "1", "--provider", provider, "--out", out],
  );

test.runIf(HAS_NO_CUDA)("a provider that does not work gives way to the processor, with what to install", async () => {
  const out = join(createFolder(), "picture.png");
  const { code, errors } = await draw("cuda", out);
  expect(code).toBe(0);
  expect(existsSync(out)).toBe(true);
  expect(errors).toEqual([
    expect.stringMatching(
      /^The provider cuda does not work here, so cpu is used\. .* ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules\/onnxruntime-node\/script\/install\.js$/,
    ),
    `wrote ${out} (seed 1)`,
  ]);
});

test("a provider that nobody knows is refused with those there are", async () => {
  const { code, errors } = await draw("tpu", join(createFolder(), "picture.png"));
  expect(code).toBe(1);
  expect(errors.join(" ")).toMatch(/'tpu' is invalid\. Allowed choices are cpu, cuda, webgpu\./);
});
