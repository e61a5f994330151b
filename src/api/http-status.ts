/** The HTTP status of a request that a domain error refuses as a whole. */
import { HeaderMap } from "@apollo/server";
import type { ErrorRequestHandler } from "express";
import { DomainError, type DomainErrorCode } from "../platform/errors.ts";
import { refuse } from "../storage/signed-links.ts";

const STATUS: Partial<Record<DomainErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
};

export const statusOf = (code: DomainErrorCode): number => STATUS[code] ?? 400;

/** Of a GraphQL request, in the extensions of the error. */
export function httpOf({ code, details }: DomainError): { readonly status: number; readonly headers: HeaderMap } {
  const { retryAfterMs } = details;
  const headers = new HeaderMap();
  if (retryAfterMs !== undefined) headers.set("retry-after", String(Math.ceil(retryAfterMs / 1000)));
  return { status: statusOf(code), headers };
}

/** Of requests for files. */
export const answerRefusal: ErrorRequestHandler = (error, _request, response, next) => {
  if (!(error instanceof DomainError) || response.headersSent) return next(error);
  refuse(response, statusOf(error.code), error.message);
};
