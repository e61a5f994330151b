/** The HTTP status of a request that a domain error refuses as a whole. */
import type { DomainErrorCode } from "../platform/errors.ts";

const STATUS: Partial<Record<DomainErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
};

export const statusOf = (code: DomainErrorCode): number => STATUS[code] ?? 400;
