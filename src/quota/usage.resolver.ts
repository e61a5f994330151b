import { Arg, Args, Ctx, Int, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { UsageService } from "./usage.service.ts";
import { CsvArguments, LedgerConnection, LedgerFilter, Usage, UsageInput } from "./usage.type.ts";

const LINK =
  "It works for anyone until it expires: made anew on each read, never store it. The file is written while it is read.";

@Resolver()
export class UsageResolver {
  constructor(private readonly service: UsageService) {}

  @Query(() => [Usage], {
    description:
      "What was used in some days, added up for plots: of the tenant for its operators, one's own for others. At most 10000 rows.",
  })
  usage(@Arg("input", () => UsageInput) input: UsageInput, @Ctx() context: RequestContext): Promise<readonly Usage[]> {
    return this.service.sum(principalOf(context), withoutNulls(input));
  }

  @Query(() => LedgerConnection, {
    description: "Every change of a tenant's credits, newest first, in pages of 1 to 100.",
  })
  ledger(
    @Ctx() context: RequestContext,
    @Arg("first", () => Int, { defaultValue: 50 }) first: number,
    @Arg("after", () => String, { nullable: true }) after?: string,
    @Arg("filter", () => LedgerFilter, { nullable: true }) filter?: LedgerFilter,
  ): Promise<LedgerConnection> {
    return this.service.ledger(principalOf(context), withoutNulls({ first, after, filter: filter ?? {} }));
  }

  @Query(() => String, {
    description: `A link to the use of some days as CSV, a line for each day, member, key and task. ${LINK}`,
  })
  usageCsvUrl(@Args(() => CsvArguments) file: CsvArguments, @Ctx() context: RequestContext): Promise<string> {
    return this.service.exportUrl(principalOf(context), { ...withoutNulls(file), file: "usage" });
  }

  @Query(() => String, { description: `A link to the ledger of some days as CSV, newest first. ${LINK}` })
  ledgerCsvUrl(@Args(() => CsvArguments) file: CsvArguments, @Ctx() context: RequestContext): Promise<string> {
    return this.service.exportUrl(principalOf(context), { ...withoutNulls(file), file: "ledger" });
  }
}
