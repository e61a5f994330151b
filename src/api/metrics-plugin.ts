/** Counts operations over HTTP, and how long they take. */
import type { ApolloServerPlugin } from "@apollo/server";
import { type Metrics, secondsSince } from "../platform/metrics.ts";

export function metricsPlugin(metrics: Metrics): ApolloServerPlugin {
  return {
    async requestDidStart() {
      const startedAt = performance.now();
      let type = "unknown";
      return {
        async didResolveOperation({ operation }) {
          type = operation?.operation ?? type;
        },
        async willSendResponse({ response: { body } }) {
          const errors = (body.kind === "single" && body.singleResult.errors) || [];
          const isOurs = errors.some(({ extensions }) => extensions?.["code"] === "INTERNAL");
          const outcome = isOurs ? "failed" : errors.length > 0 ? "refused" : "answered";
          metrics.operationSeconds.observe({ type, outcome }, secondsSince(startedAt));
        },
      };
    },
  };
}
