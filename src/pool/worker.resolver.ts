import { Arg, Ctx, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import type { WorkerService } from "./worker.service.ts";
import { DrainWorkerInput, ResumeWorkerInput, Worker, WorkerPayload } from "./worker.type.ts";

@Resolver()
export class WorkerResolver {
  constructor(private readonly service: WorkerService) {}

  @Query(() => [Worker], { description: "By pool and name. For administrators of the platform." })
  workers(
    @Arg("pool", () => String, { nullable: true, description: "All pools unless given." }) pool: string | null,
    @Ctx() context: RequestContext,
  ): Promise<readonly Worker[]> {
    return this.service.list(principalOf(context), pool ?? undefined);
  }

  @Mutation(() => WorkerPayload, {
    description: "The worker gets nothing more, until it is resumed. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async drainWorker(
    @Arg("input", () => DrainWorkerInput) input: DrainWorkerInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<WorkerPayload, "userErrors">> {
    return { worker: await this.service.drain(principalOf(context), input) };
  }

  @Mutation(() => WorkerPayload, {
    description: "A worker that was drained gets work again. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async resumeWorker(
    @Arg("input", () => ResumeWorkerInput) input: ResumeWorkerInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<WorkerPayload, "userErrors">> {
    return { worker: await this.service.resume(principalOf(context), input) };
  }
}
