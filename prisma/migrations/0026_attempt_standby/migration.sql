-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "standby_ms" INTEGER NOT NULL DEFAULT 0;
