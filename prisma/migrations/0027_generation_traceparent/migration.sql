-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "traceparent" TEXT;
