/** How much one request may ask for, over either transport. */
import { maxAliasesRule } from "@escape.tech/graphql-armor-max-aliases";
import { maxDepthRule } from "@escape.tech/graphql-armor-max-depth";
import { maxDirectivesRule } from "@escape.tech/graphql-armor-max-directives";
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  parse,
  specifiedRules,
  type ValidationContext,
  type ValidationRule,
  validate,
} from "graphql";

export const MAX_TOKENS = 2000;
const MAX_ROOT_FIELDS = 10;
const MAX_ALIASES = 30;
const MAX_DIRECTIVES = 50;
/** A page of batches with the pictures of their items has 8; introspection as tools send it does not count. */
const MAX_DEPTH = 12;

/** Fields of Query, Mutation and Subscription cost queries of the database each; aliases would multiply them. */
const limitRootFields: ValidationRule = (context) => {
  const schema = context.getSchema();
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  let count = 0;
  return {
    Field(node) {
      if (!roots.some((root) => root && root === context.getParentType()) || ++count !== MAX_ROOT_FIELDS + 1) return;
      const message = `A request may have ${MAX_ROOT_FIELDS} root fields. Send several requests.`;
      context.reportError(new GraphQLError(message, { nodes: node }));
    },
  };
};

/** A limit that is passed is an error of the query like any other. */
const REPORT = {
  propagateOnRejection: false,
  onReject: [
    (context: ValidationContext | null, error: GraphQLError) =>
      context?.reportError(new GraphQLError(error.message.replace("Syntax Error: ", ""))),
  ],
};

/** Beside those of GraphQL itself. What a query costs is another matter: query-cost.ts. */
export const LIMITS: readonly ValidationRule[] = [
  limitRootFields,
  maxDepthRule({ n: MAX_DEPTH, ignoreIntrospection: true, ...REPORT }),
  maxAliasesRule({ n: MAX_ALIASES, ...REPORT }),
  maxDirectivesRule({ n: MAX_DIRECTIVES, ...REPORT }),
];

/** Parses and validates within the limits. @returns the document, or what is wrong with it */
export function readQuery(schema: GraphQLSchema, query: string): DocumentNode | readonly GraphQLError[] {
  try {
    const document = parse(query, { maxTokens: MAX_TOKENS });
    const errors = validate(schema, document, [...specifiedRules, ...LIMITS]);
    return errors.length > 0 ? errors : document;
  } catch (error) {
    if (error instanceof GraphQLError) return [error];
    throw error;
  }
}
