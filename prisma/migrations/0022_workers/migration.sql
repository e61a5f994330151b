-- What is known of the workers of each pool, and which of them are to get nothing more.

-- CreateTable
CREATE TABLE "worker" (
    "pool" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "slots" INTEGER NOT NULL,
    "standby" INTEGER NOT NULL,
    "presets" JSONB NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "seen_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "gone_at" TIMESTAMPTZ(3),
    "faults" INTEGER NOT NULL DEFAULT 0,
    "quarantined_until" TIMESTAMPTZ(3),
    "drain_requested_at" TIMESTAMPTZ(3),
    "drain_yields" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "worker_pkey" PRIMARY KEY ("pool","name")
);

-- The pool's leader writes it, and what it shall do is the wish of administrators of the platform. Nothing in it is a tenant's.
GRANT SELECT, INSERT, UPDATE, DELETE ON "worker" TO atelier_dispatcher, atelier_platform;
