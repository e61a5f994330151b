-- CreateEnum
CREATE TYPE "failure_class" AS ENUM ('INVALID_INPUT', 'CONTENT_BLOCKED', 'MODERATION_UNAVAILABLE', 'INTERNAL', 'WORKER_LOST', 'WORKER_STUCK', 'NOT_TAKEN', 'SERVER', 'ORPHANED', 'STALE_CHECKPOINT');

-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "failure_class" "failure_class";

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "suspicion" UUID;
