/** Errors as callers see them. The only place that knows which errors are theirs and which are ours. */
import { GraphQLError, type GraphQLFormattedError } from "graphql";
import { DomainError } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";

/** Codes of Apollo for requests that are not valid GraphQL, or not valid for this schema. */
const CLIENT_CODES = new Set([
  "GRAPHQL_PARSE_FAILED",
  "GRAPHQL_VALIDATION_FAILED",
  "BAD_USER_INPUT",
  "BAD_REQUEST",
  "OPERATION_RESOLUTION_FAILURE",
  "PERSISTED_QUERY_NOT_FOUND",
  "PERSISTED_QUERY_NOT_SUPPORTED",
]);

/** @param formatted the error as the executor would show it; @param error what was thrown */
export function formatError(formatted: GraphQLFormattedError, error: unknown, logger: Logger): GraphQLFormattedError {
  const original = error instanceof GraphQLError ? (error.originalError ?? error) : error;
  const place = {
    ...(formatted.locations && { locations: formatted.locations }),
    ...(formatted.path && { path: formatted.path }),
  };
  if (original instanceof DomainError) {
    const { retryable = false, retryAfterMs, path } = original.details;
    const extensions = {
      code: original.code,
      retryable,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(path && { inputPath: path }),
    };
    return { message: original.message, ...place, extensions };
  }
  const code = formatted.extensions?.["code"];
  if (typeof code === "string" && CLIENT_CODES.has(code))
    return { message: withoutSuggestions(formatted.message), ...place, extensions: { code } };
  if (original instanceof GraphQLError) {
    return {
      message: withoutSuggestions(formatted.message),
      ...place,
      extensions: { code: formatted.path === undefined ? "GRAPHQL_VALIDATION_FAILED" : "BAD_USER_INPUT" },
    };
  }
  const errorId = newId();
  logger.error({ errorId, err: original }, "request failed");
  return {
    message: `Something went wrong on our side. Quote ${errorId} when you report it.`,
    ...place,
    extensions: { code: "INTERNAL", errorId },
  };
}

/** GraphQL's own suggestions would tell callers without a key the names of the schema. */
const withoutSuggestions = (message: string): string => message.replace(/ Did you mean .*\?$/, "");
