/** A span for every operation, but for subscriptions: what it sets going is part of the caller's trace, if the caller has one. */
import type { ApolloServerPlugin } from "@apollo/server";
import type { RequestHandler } from "express";
import {
  beginSpan,
  contextOf,
  failSpan,
  inSpan,
  isTracing,
  noteOnSpan,
  SpanKind,
  within,
} from "../platform/tracing.ts";

/** Names of operations are the callers': as long as they like. */
const MAX_NAME = 100;

export function traceRequests(route: string): RequestHandler {
  return (request, response, next) => {
    if (!isTracing()) return next();
    const [span, context] = beginSpan(`${request.method} ${route}`, {
      kind: SpanKind.SERVER,
      parent: contextOf(request.headers),
      attributes: { "http.request.method": request.method, "http.route": route },
    });
    response.once("close", () => {
      const { statusCode } = response;
      span.setAttribute("http.response.status_code", statusCode);
      if (statusCode >= 500) failSpan(span, String(statusCode));
      span.end();
    });
    within(context, next);
  };
}

/** Over a socket, where each operation has extensions of its own in place of headers. */
export async function traceSocketOperation<Result>(
  { route, extensions, operationName }: { route: string; extensions: object; operationName: string | null | undefined },
  execute: () => Promise<Result> | Result,
): Promise<Result> {
  if (!isTracing()) return execute();
  const parent = contextOf({ ...extensions });
  return inSpan(`WEBSOCKET ${route}`, { kind: SpanKind.SERVER, parent }, async () => {
    noteOnSpan({ "graphql.operation.name": operationName?.slice(0, MAX_NAME) ?? "" });
    return execute();
  });
}

export function tracesPlugin(): ApolloServerPlugin {
  return {
    async requestDidStart() {
      return {
        async didResolveOperation({ operation, operationName }) {
          noteOnSpan({
            "graphql.operation.type": operation?.operation ?? "unknown",
            "graphql.operation.name": operationName?.slice(0, MAX_NAME) ?? "",
          });
        },
      };
    },
  };
}
