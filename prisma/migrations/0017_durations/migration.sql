-- What forecasts need: how long work takes, and how long attempts that run are expected to hold their workers.

-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "predicted_ms" DOUBLE PRECISION,
ADD COLUMN     "share" DOUBLE PRECISION NOT NULL DEFAULT 1;

-- CreateTable
CREATE TABLE "learned_duration" (
    "pool" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "ms" DOUBLE PRECISION NOT NULL,
    "learned_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "learned_duration_pkey" PRIMARY KEY ("pool","key")
);

-- The pool's leader learns them.
GRANT SELECT, INSERT, UPDATE, DELETE ON "learned_duration" TO atelier_dispatcher, atelier_platform;
