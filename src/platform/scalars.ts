/** Numbers that GraphQL's Int and Float cannot hold, as strings. */
import { GraphQLError, GraphQLScalarType, Kind } from "graphql";

export const UInt64 = new GraphQLScalarType<string, string>({
  name: "UInt64",
  description: "A whole number from 0 to 2^64 - 1 as a string. A number is accepted too, where it is exact.",
  serialize: String,
  parseValue: toText,
  parseLiteral: (node) => (node.kind === Kind.STRING || node.kind === Kind.INT ? node.value : toText(undefined)),
});

export const Credits = new GraphQLScalarType<string, string>({
  name: "Credits",
  description: "Credits as a decimal string with up to six decimals: never a floating-point number.",
  serialize: String,
  parseValue: toText,
});

/** Given only, never taken. */
export const Json = new GraphQLScalarType<unknown, unknown>({
  name: "JSON",
  description: "Any JSON value.",
  serialize: (value) => value,
});

export const Amount = new GraphQLScalarType<string, string>({
  name: "Amount",
  description:
    "So much of what a limit counts, as a string: credits with up to six decimals, anything else a whole number.",
  serialize: String,
  parseValue: toText,
});

/** What the text means is for admission to judge. */
function toText(value: unknown): string {
  if (typeof value === "string") return value;
  if (Number.isSafeInteger(value)) return String(value);
  throw new GraphQLError('Write the number as a string: "18446744073709551615".');
}
