import { expect, test } from "vitest";
import { HAS_NO_CUDA } from "../support/cuda.ts";
import { collect, requestOf, SHORT, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

test.runIf(HAS_NO_CUDA)(
  "a worker without the provider it was told names the one that computes, and says why",
  async () => {
    const worker = await workers.start(["--provider", "cuda"]);
    const [started] = (await collect(worker.generate(requestOf(SHORT)))).of("started");
    expect(started?.recipe?.provider).toBe("cpu");
    expect(worker.errorOutput()).toMatch(/"reason":"The provider cuda does not work here, so cpu is used\. .+\n$/);
  },
);
