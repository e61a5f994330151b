/** How much one request may ask for, over either transport. */
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  parse,
  specifiedRules,
  type ValidationRule,
  validate,
} from "graphql";

export const MAX_TOKENS = 2000;
const MAX_ROOT_FIELDS = 10;

/** Fields of Query, Mutation and Subscription cost queries of the database each; aliases would multiply them. */
export const limitRootFields: ValidationRule = (context) => {
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

/** Parses and validates within the limits. @returns the document, or what is wrong with it */
export function readQuery(schema: GraphQLSchema, query: string): DocumentNode | readonly GraphQLError[] {
  try {
    const document = parse(query, { maxTokens: MAX_TOKENS });
    const errors = validate(schema, document, [...specifiedRules, limitRootFields]);
    return errors.length > 0 ? errors : document;
  } catch (error) {
    if (error instanceof GraphQLError) return [error];
    throw error;
  }
}
