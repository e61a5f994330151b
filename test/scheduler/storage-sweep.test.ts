import { expect, test } from "vitest";
import { StorageSweep } from "../../src/scheduler/storage-sweep.ts";
import type { ImageStore } from "../../src/storage/image-store.ts";
import { FakeClock } from "../support/fake-clock.ts";

test("a store that takes a minute to list is listed again after a hundred", async () => {
  const clock = new FakeClock();
  let listings = 0;
  const listFolders = async function* (): AsyncGenerator<string> {
    listings++;
    clock.advance(60_000);
    yield "not of ours";
  };
  const sweep = new StorageSweep({ db: {} as never, images: { listFolders } as unknown as ImageStore, clock });
  for (const [minutes, expected] of [
    [0, 1],
    [10, 1],
    [88, 1],
    [1, 2],
  ] as const) {
    clock.advance(minutes * 60_000);
    await sweep.runOnce();
    expect(listings).toBe(expected);
  }
});
