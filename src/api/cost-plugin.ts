/** The gate for operations over HTTP, and its report in the answer's extensions. */
import type { ApolloServerPlugin } from "@apollo/server";
import { GraphQLError } from "graphql";
import type { RequestContext } from "../auth/request-context.ts";
import { statusOf } from "./http-status.ts";
import type { CostReport, OperationGate } from "./operation-gate.ts";

export function costPlugin(gate: OperationGate): ApolloServerPlugin<RequestContext> {
  return {
    async requestDidStart() {
      let report: CostReport | undefined;
      return {
        async didResolveOperation({ schema, document, operationName, request, contextValue }) {
          const operation = { schema, document, operationName: operationName ?? undefined };
          const admission = await gate.admit(contextValue, { ...operation, variables: request.variables ?? {} });
          report = admission.report;
          const { refusal } = admission;
          if (refusal === undefined) return;
          const http = { status: statusOf(refusal.code) };
          throw new GraphQLError(refusal.message, { originalError: refusal, extensions: { http } });
        },
        async willSendResponse({ response: { body } }) {
          if (report === undefined || body.kind !== "single") return;
          body.singleResult.extensions = { ...body.singleResult.extensions, ...report };
        },
      };
    },
  };
}
