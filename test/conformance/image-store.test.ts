import { mkdtempSync, rmSync } from "node:fs";
import { readdir, utimes } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "../../src/platform/logger.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { imageStoreConformance } from "./image-store.ts";

imageStoreConformance("the disk", async (clock) => {
  const folder = mkdtempSync(join(tmpdir(), "atelier-images-"));
  const server = http.createServer((request, response) => void store.serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const signer = new UrlSigner({ id: "test", secret: Buffer.alloc(32, 7).toString("base64url") });
  const links = new SignedLinks({
    signer,
    clock,
    publicUrl: () => `http://127.0.0.1:${port}`,
    logger: createLogger("silent"),
  });
  const store: DiskImageStore = new DiskImageStore({ folder, links });
  return {
    store,
    async age(attempt, at) {
      const inside = await readdir(join(folder, attempt), { recursive: true });
      for (const path of ["", ...inside]) await utimes(join(folder, attempt, path), at, at);
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true });
    },
  };
});
