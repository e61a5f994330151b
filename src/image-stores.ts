/** Chooses where pictures and uploads are kept. */
import { join } from "node:path";
import type { Clock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import type { Logger } from "./platform/logger.ts";
import type { Metrics } from "./platform/metrics.ts";
import { DiskImageStore } from "./storage/disk-image-store.ts";
import type { ImageStore } from "./storage/image-store.ts";
import { S3Client } from "./storage/s3-client.ts";
import { S3ImageStore } from "./storage/s3-image-store.ts";
import type { SignedLinks } from "./storage/signed-links.ts";

export function makeImageStore(
  { dataDir, s3 }: Config,
  { links, ...services }: { links: SignedLinks; clock: Clock; logger: Logger; metrics: Metrics },
): ImageStore {
  if (s3 === undefined) return new DiskImageStore({ folder: join(dataDir, "images"), links, logger: services.logger });
  return new S3ImageStore(new S3Client({ ...s3, ...services }), links);
}
