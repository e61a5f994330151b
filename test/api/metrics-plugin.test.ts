import { ApolloServer } from "@apollo/server";
import { expect, test } from "vitest";
import { formatError } from "../../src/api/format-error.ts";
import { metricsPlugin } from "../../src/api/metrics-plugin.ts";
import { DomainError } from "../../src/platform/errors.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { Told } from "../support/metrics.ts";

test("operations are told as answered, refused, or failed by our fault", async () => {
  const metrics = new Metrics({ role: "api", pool: "local" });
  const logger = createLogger("silent");
  const answers: Record<string, () => string> = {
    answered: () => "yes",
    refused: () => {
      throw new DomainError("FORBIDDEN", "no");
    },
    failed: () => {
      throw new Error("as the test says");
    },
  };
  const server = new ApolloServer({
    typeDefs: "type Query { answered: String refused: String failed: String } type Mutation { answered: String }",
    resolvers: { Query: answers, Mutation: { answered: answers["answered"] } },
    formatError: (formatted, error) => formatError(formatted, error, logger),
    plugins: [metricsPlugin(metrics)],
  });
  for (const query of ["{ answered }", "{ refused }", "{ failed refused }", "mutation { answered }", "{"])
    await server.executeOperation({ query });
  await server.stop();
  const told = new Told(await metrics.registry.metrics());
  const count = (type: string, outcome: string) =>
    told.value("atelier_operation_seconds_count", { type, outcome }) ?? 0;
  expect([count("query", "answered"), count("query", "refused"), count("query", "failed")]).toEqual([1, 1, 1]);
  expect([count("mutation", "answered"), count("unknown", "refused")]).toEqual([1, 1]);
});
