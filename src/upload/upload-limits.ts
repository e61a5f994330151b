import type { UploadPurpose } from "../generated/prisma/enums.ts";

/** Of a file. A batch of 50,000 items has about 1300 bytes for each. */
export const MAX_BYTES: Readonly<Record<UploadPurpose, number>> = { PICTURE: 20_000_000, BATCH: 64 * 1024 * 1024 };

/** From its creation until an upload must be finished. */
export const WAIT_SECONDS = 3600;

/** From then on until it must be used. */
export const KEEP_SECONDS = 24 * 3600;

/** Uploads of a member that are not finished or used yet: who has no credits cannot fill the disk. */
export const MAX_OPEN = 100;
