import { type GraphQLResolveInfo, isInputType } from "graphql";
import {
  Arg,
  Args,
  Ctx,
  FieldResolver,
  ID,
  Info,
  Int,
  Mutation,
  Query,
  Resolver,
  Root,
  UseMiddleware,
} from "type-graphql";
import { principalOf, type RequestContext, readsOf } from "../auth/request-context.ts";
import { invariant } from "../platform/errors.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import { BatchItemInput, CreateBatchInput } from "./batch.input.ts";
import type { BatchService } from "./batch.service.ts";
import {
  Batch,
  BatchConnection,
  BatchCounts,
  BatchCredits,
  BatchItemConnection,
  CancelBatchPayload,
  CreateBatchPayload,
} from "./batch.type.ts";
import type { BatchResults } from "./batch-results.ts";
import { HistoryArguments } from "./generation.input.ts";

@Resolver(() => Batch)
export class BatchResolver {
  constructor(
    private readonly service: BatchService,
    private readonly results: BatchResults,
  ) {}

  @Query(() => Batch, { nullable: true, description: "NOT_FOUND when there is none that the caller may read." })
  batch(@Arg("id", () => ID) id: string, @Ctx() context: RequestContext): Promise<Batch> {
    return this.service.get(principalOf(context), id);
  }

  @Query(() => BatchConnection, { description: "Batches, newest first. Give either first or last, from 1 to 100." })
  batches(
    @Args(() => HistoryArguments) page: HistoryArguments,
    @Ctx() context: RequestContext,
  ): Promise<BatchConnection> {
    return this.service.list(principalOf(context), withoutNulls(page));
  }

  @Mutation(() => CreateBatchPayload, {
    description:
      "Accepts a batch and reserves the credits of all its items, or does neither. Its items become generations of the class BATCH, at most 64 of them queued or running at a time.",
  })
  @UseMiddleware(reportUserErrors)
  async createBatch(
    @Arg("input", () => CreateBatchInput) input: CreateBatchInput,
    @Ctx() context: RequestContext,
    @Info() { schema }: GraphQLResolveInfo,
  ): Promise<Omit<CreateBatchPayload, "userErrors">> {
    const itemType = schema.getType(BatchItemInput.name);
    invariant(isInputType(itemType), "items of a batch have a type");
    const { batch, replayed } = await this.service.create(principalOf(context), withoutNulls(input), itemType);
    return { batch, wasReplayed: replayed };
  }

  @Mutation(() => CancelBatchPayload, {
    description:
      "Ends the items that wait or are queued now and for free; asks running ones to stop, which charges the steps done.",
  })
  @UseMiddleware(reportUserErrors)
  async cancelBatch(
    @Arg("id", () => ID) id: string,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CancelBatchPayload, "userErrors">> {
    return { batch: await this.service.cancel(principalOf(context), id) };
  }

  @FieldResolver(() => BatchCounts)
  counts(@Root() batch: Batch, @Ctx() context: RequestContext): Promise<BatchCounts> {
    return this.service.count(readsOf(context), batch.uuid);
  }

  @FieldResolver(() => BatchCredits)
  credits(@Root() batch: Batch, @Ctx() context: RequestContext): Promise<BatchCredits> {
    return this.service.sumCredits(readsOf(context), batch.uuid);
  }

  @FieldResolver(() => String, {
    description:
      "A link to a JSONL file with one line for each item, as it stands when it is read: index, customId, status, prompt, seed, generationId, creditsCharged, error { code message } and images { id url width height sha256 }, whose links work for a week. It works for anyone until it expires: made anew on each read, never store it.",
  })
  resultsUrl(
    @Root() batch: Batch,
    @Arg("expiresInSeconds", () => Int, { defaultValue: 300 }) expiresInSeconds: number,
    @Ctx() context: RequestContext,
  ): string {
    const { tenantId } = principalOf(context);
    return this.results.url({ id: batch.uuid, tenantId }, expiresInSeconds);
  }

  @FieldResolver(() => BatchItemConnection, { description: "A page of 1 to 100 items." })
  items(
    @Root() batch: Batch,
    @Ctx() context: RequestContext,
    @Arg("first", () => Int) first: number,
    @Arg("after", () => String, { nullable: true }) after?: string,
  ): Promise<BatchItemConnection> {
    return this.service.listItems(principalOf(context), batch.uuid, withoutNulls({ first, after }));
  }
}

@Resolver(() => CreateBatchPayload)
export class CreateBatchPayloadResolver {
  @FieldResolver(() => Boolean, { description: "The idempotency key was used before: this is the batch of then." })
  replayed(@Root() { wasReplayed = false }: CreateBatchPayload): boolean {
    return wasReplayed;
  }
}
