/**
 * What an operation costs, known before it runs: every object it may load counts, every page as often as it may have rows.
 * Fields that cost more than an object say so with `complexity` where they are declared.
 */
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isCompositeType,
  isListType,
} from "graphql";
import { type ComplexityEstimator, type ComplexityEstimatorArgs, getComplexity } from "graphql-query-complexity";

export const MAX_COST = 5000;
/** Of a mutation, beside what it returns: it writes. */
const MUTATION_COST = 10;
/** A list without a page size is short: pictures of a generation, its attempts, sizes of a preset. */
const SHORT_LIST = 4;

export interface Operation {
  readonly schema: GraphQLSchema;
  readonly document: DocumentNode;
  readonly operationName: string | undefined;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** @throws GraphQLError for variables that do not fit */
export function costOf({ schema, document, operationName, variables }: Operation): number {
  const named = operationName === undefined ? {} : { operationName };
  try {
    return getComplexity({ schema, query: document, ...named, variables, estimators: [estimate] });
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error;
    throw new GraphQLError(error.message, { extensions: { code: "BAD_USER_INPUT" } });
  }
}

const estimate: ComplexityEstimator = ({ type, field, args, childComplexity }) => {
  const own = ownCost(field);
  const cost = own + rowsOf(type.name, field, args) * childComplexity;
  return type.name === "Mutation" ? cost + MUTATION_COST : cost;
};

type Field = ComplexityEstimatorArgs["field"];

function ownCost({ type, extensions }: Field): number {
  const declared: unknown = extensions["complexity"];
  if (typeof declared === "number") return declared;
  return isCompositeType(getNamedType(type)) ? 1 : 0;
}

/** How many rows a field may have. Those of a page were counted with the connection that they belong to. */
function rowsOf(parent: string, { type }: Field, args: ComplexityEstimatorArgs["args"]): number {
  for (const name of ["first", "last"]) {
    const size: unknown = args[name];
    if (typeof size === "number") return Math.max(0, size);
  }
  if (Array.isArray(args["ids"])) return args["ids"].length;
  return isListType(getNullableType(type)) && !parent.endsWith("Connection") ? SHORT_LIST : 1;
}
