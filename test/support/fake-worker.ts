/**
 * A worker that speaks the real protocol and does what a test says: every call arrives as a handle through which the test
 * sends events, finishes, fails, or waits for the caller to hang up.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, ServerError, Status } from "nice-grpc";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import sharp from "sharp";
import {
  type Drawing,
  type GenerateRequest,
  type GenerateResponse,
  InferenceServiceDefinition,
  Speed,
  Stage,
} from "../../proto/gen/inference/v1/inference.ts";
import type { DiscoveryListener, WorkerDiscovery } from "../../src/pool/worker-discovery.ts";
import { TINY_OFFER } from "./tiny-offer.ts";

type Event = NonNullable<GenerateResponse["event"]>;
type Instruction =
  | { readonly event: Event }
  | { readonly status: Status; readonly message: string }
  | { readonly end: true };

const OFFER = {
  ...TINY_OFFER.textToImage,
  speeds: [Speed.EXACT, Speed.FAST].map((speed) => ({ speed, description: "" })),
};
const READING = { sizes: [96], defaultSize: 96, maxTokens: 64 };
const RECIPE = { buildDigest: "fake", provider: "cpu", runtimeVersion: "0", threads: 1, groupSize: 1 };

export class FakeCall {
  private readonly instructions = new Mailbox<Instruction>();
  /** Resolves when the caller hangs up. */
  readonly hungUp: Promise<void>;
  /** Resolves when the caller asks the attempt to yield. */
  readonly yieldRequested: Promise<void>;
  requestYield: () => void = () => {};

  constructor(
    readonly request: GenerateRequest,
    private readonly signal: AbortSignal,
  ) {
    this.hungUp = new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
    this.yieldRequested = new Promise((resolve) => {
      this.requestYield = resolve;
    });
  }

  started(stepsDone = 0): this {
    return this.send({ $case: "started", value: { stepsDone, totalSteps: this.totalSteps, recipe: RECIPE } });
  }

  step(stepsDone: number): this {
    const webp = Buffer.from("preview");
    const previews = [{ index: 0, width: 8, height: 8, webp }];
    return this.send({
      $case: "frame",
      value: { stage: Stage.DRAWING, stepsDone, totalSteps: this.totalSteps, previews },
    });
  }

  /** Words of an answer, and that many tokens. */
  words(stepsDone: number, { offset, text }: { offset: number; text: string }): this {
    this.send({
      $case: "frame",
      value: { stage: Stage.WRITING, stepsDone, totalSteps: this.totalSteps, previews: [] },
    });
    return this.send({ $case: "text", value: { offset, text } });
  }

  checkpoint(stepsDone: number): this {
    return this.send({ $case: "checkpoint", value: { stepsDone, state: Buffer.from(`state after ${stepsDone}`) } });
  }

  /** Sends every picture and `done`. */
  async succeed(): Promise<void> {
    const data = await sharp({ create: { width: 96, height: 96, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    const count = this.request.task?.$case === "imageToText" ? 0 : this.drawing.count;
    for (let index = 0; index < count; index++) {
      this.send({ $case: "image", value: { index, size: { width: 96, height: 96 }, mimeType: "image/png", data } });
    }
    this.send({ $case: "done", value: { computeMs: 1n, promptsRead: 1, promptsKnown: 2 } });
    this.instructions.push({ end: true });
  }

  yielded(): void {
    this.send({ $case: "yielded", value: { computeMs: 1n } });
    this.instructions.push({ end: true });
  }

  fail(status: Status, message = "as the test says"): void {
    this.instructions.push({ status, message });
  }

  async *responses(): AsyncGenerator<GenerateResponse> {
    const hungUp = this.hungUp.then((): Instruction => ({ status: Status.CANCELLED, message: "hung up" }));
    for (;;) {
      const instruction = await Promise.race([this.instructions.next(), hungUp]);
      if ("end" in instruction) return;
      if ("status" in instruction) throw new ServerError(instruction.status, instruction.message);
      yield { event: instruction.event };
    }
  }

  /** Any event, also one that a worker must not send. */
  send(event: Event): this {
    if (!this.signal.aborted) this.instructions.push({ event });
    return this;
  }

  private get totalSteps(): number {
    const task = this.request.task!;
    return task.$case === "imageToText" ? task.value.maxTokens : this.drawing.steps;
  }

  /** The settings of a task that draws. */
  get drawing(): Drawing {
    const task = this.request.task!;
    if (task.$case === "imageToText") throw new Error("not a task that draws");
    return task.value.drawing!;
  }

  /** Of a drawing from text. */
  get prompt(): string {
    const task = this.request.task!;
    return task.$case === "textToImage" ? task.value.prompt : "";
  }
}

export class FakeWorker implements WorkerDiscovery {
  readonly areElsewhere = true;
  readonly stuck: string[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), "atelier-fake-"));
  private readonly health = HealthState();
  private readonly server = createServer();
  private readonly arrived = new Mailbox<FakeCall>();
  private readonly running = new Map<string, FakeCall>();

  constructor(
    private readonly slots = 1,
    private readonly standby = 0,
  ) {}

  /** Set while no slot is free, whatever the caller believes. */
  refusesAll = false;

  /** The next call that arrives. */
  nextCall(): Promise<FakeCall> {
    return this.arrived.next();
  }

  async start(listener: DiscoveryListener): Promise<void> {
    const target = `unix:${join(this.folder, "worker.sock")}`;
    this.server.add(InferenceServiceDefinition, {
      describe: async () => ({
        slots: this.slots,
        standby: this.standby,
        presets: [
          {
            name: "tiny",
            buildDigest: "fake",
            textToImage: OFFER,
            imageEdit: OFFER,
            imageVariation: OFFER,
            imageToText: READING,
          },
        ],
      }),
      generate: (request, { signal }) => this.accept(request, signal),
      yield: async ({ leaseId }) => {
        this.running.get(leaseId)?.requestYield();
        return {};
      },
    });
    this.server.add(HealthDefinition, HealthServiceImpl(this.health));
    await this.server.listen(target);
    this.health.setStatus("healthy");
    listener.found({ name: "fake", target });
  }

  reportStuck(name: string): void {
    this.stuck.push(name);
  }

  async stop(): Promise<void> {
    this.server.forceShutdown();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async *accept(request: GenerateRequest, signal: AbortSignal): AsyncGenerator<GenerateResponse> {
    if (this.refusesAll) throw new ServerError(Status.RESOURCE_EXHAUSTED, "No slot is free.");
    const call = new FakeCall(request, signal);
    this.running.set(request.leaseId, call);
    this.arrived.push(call);
    yield* call.responses();
  }
}

/** First in, first out; whoever comes early waits. */
class Mailbox<T> {
  private readonly items: T[] = [];
  private readonly waiting: ((item: T) => void)[] = [];

  push(item: T): void {
    const next = this.waiting.shift();
    if (next === undefined) this.items.push(item);
    else next(item);
  }

  next(): Promise<T> {
    const item = this.items.shift();
    return item === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(item);
  }
}
