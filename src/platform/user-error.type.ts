/** Domain errors as the API shows them: in the payload of the mutation that was refused. */
import { Field, Int, InterfaceType, type MiddlewareFn, ObjectType, registerEnumType } from "type-graphql";
import { DOMAIN_ERROR_CODES, DomainError, type DomainErrorCode, DomainErrors } from "./errors.ts";

const ErrorCode = Object.fromEntries(DOMAIN_ERROR_CODES.map((code) => [code, code])) as Record<
  DomainErrorCode,
  DomainErrorCode
>;
registerEnumType(ErrorCode, {
  name: "ErrorCode",
  description:
    "Kinds of refusal. Top-level errors have them in `extensions.code`, beside INTERNAL and those of GraphQL itself.",
});

@InterfaceType({
  description: "Why a mutation was refused, and what to do about it.",
  resolveType: (value: { __typename: string }) => value.__typename,
})
export abstract class UserError {
  @Field(() => ErrorCode)
  code!: DomainErrorCode;

  @Field(() => String, { description: "What happened and what to do, for people." })
  message!: string;

  @Field(() => [String], { description: "The offending part of the input." })
  path!: readonly string[];

  @Field(() => Boolean, { description: "The same call can succeed later." })
  retryable!: boolean;

  @Field(() => Int, { nullable: true })
  retryAfterMs?: number | undefined;
}

@ObjectType({ implements: UserError, description: "A refusal that its code and message describe completely." })
export class GenericError extends UserError {}

@ObjectType({
  implements: UserError,
  description: "What was to be changed is not what the caller saw. Read it again, then decide anew.",
})
export class VersionError extends UserError {
  @Field(() => String)
  currentEtag!: string;
}

/** For fields that return a payload with `userErrors`: a DomainError becomes an entry there instead of failing the field. */
export const reportUserErrors: MiddlewareFn = async (_, next) => {
  try {
    return { ...(await next()), userErrors: [] };
  } catch (error) {
    return { userErrors: userErrorsOf(error) };
  }
};

/** Throws what is none. */
export function userErrorsOf(error: unknown): readonly UserError[] {
  if (error instanceof DomainErrors) return error.errors.map(toUserError);
  if (!(error instanceof DomainError) || error.code === "UNAUTHENTICATED") throw error;
  return [toUserError(error)];
}

function toUserError({ code, message, details }: DomainError): UserError & { __typename: string } {
  const { type = "GenericError", path = [], retryable = false, retryAfterMs, facts } = details;
  return { __typename: type, code, message, path, retryable, retryAfterMs, ...facts };
}
