import { mkdtempSync, rmSync } from "node:fs";
import { readdir, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "../../src/platform/logger.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { S3Client } from "../../src/storage/s3-client.ts";
import { S3ImageStore } from "../../src/storage/s3-image-store.ts";
import { linkedStore } from "../support/linked-store.ts";
import { S3_KEY, S3Server } from "../support/s3-server.ts";
import { imageStoreConformance } from "./image-store.ts";

imageStoreConformance("the disk", async (clock) => {
  const folder = mkdtempSync(join(tmpdir(), "atelier-images-"));
  const { store, close } = await linkedStore(
    clock,
    (links) => new DiskImageStore({ folder, links, logger: createLogger("silent") }),
  );
  return {
    store,
    async age(attempt, at) {
      const inside = await readdir(join(folder, attempt), { recursive: true });
      for (const path of ["", ...inside]) await utimes(join(folder, attempt, path), at, at);
    },
    async close() {
      await close();
      rmSync(folder, { recursive: true });
    },
  };
});

for (const [name, isPublic] of [
  ["a bucket that only the server reaches", false],
  ["a bucket that clients reach", true],
] as const)
  imageStoreConformance(name, async (clock) => {
    const server = await new S3Server(() => clock.now()).start();
    server.pageSize = 4;
    const { endpoint, bucket, region } = server;
    const publicEndpoint = isPublic ? endpoint : undefined;
    const place = { endpoint, publicEndpoint, bucket, region, isPathStyle: true, ...S3_KEY };
    const client = new S3Client({ ...place, timeoutMs: 5000, clock, logger: createLogger("silent") });
    const { store, close } = await linkedStore(clock, (links) => new S3ImageStore(client, links));
    return {
      store,
      async age(folder, at) {
        for (const [key, object] of server.objects) if (key.startsWith(`${folder}/`)) object.lastModified = at;
      },
      async close() {
        await close();
        await server.stop();
      },
    };
  });
