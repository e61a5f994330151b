import { type FileHandle, open, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { newId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryFolder } from "../support/server-process.ts";

const KEY = `${newId()}/${newId()}/${newId()}/sent.bin`;

/** Files of a folder that this process has open. */
async function openFiles(folder: string): Promise<readonly string[]> {
  const handles = await readdir("/proc/self/fd");
  const paths = await Promise.all(handles.map((handle) => readlink(`/proc/self/fd/${handle}`).catch(() => "")));
  return paths.filter((path) => path.startsWith(folder));
}

test.runIf(process.platform === "linux")("a file whose disk fails once it is open does not stay open", async () => {
  const { path: folder, remove } = temporaryFolder();
  onTestFinished(remove);
  const logger = createLogger("silent");
  const signer = new UrlSigner({ id: "test", secret: "" });
  const links = new SignedLinks({ signer, clock: new FakeClock(), publicUrl: () => "", logger });
  const store = new DiskImageStore({ folder, links, logger });
  await store.put(KEY, Buffer.from("x"));
  const some = await open(join(folder, KEY));
  const failing = vi.spyOn(Object.getPrototypeOf(some) as FileHandle, "stat");
  await some.close();
  failing.mockRejectedValueOnce(Object.assign(new Error("EIO: i/o error, fstat"), { code: "EIO" }));
  onTestFinished(() => failing.mockRestore());
  await expect(store.getStream(KEY)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await openFiles(folder)).toEqual([]);
});
