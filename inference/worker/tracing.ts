/**
 * The part of traces that happens here: whoever calls sends where they began. Unless somebody collects them, nothing but the
 * no-ops of the API is loaded.
 */
import {
  type Attributes,
  type Context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import type { CallContext } from "nice-grpc";
import { InferenceServiceDefinition } from "../../proto/gen/inference/v1/inference.ts";
import type { Stage } from "../pipelines/stages.ts";

const SERVICE = InferenceServiceDefinition.fullName;
const RPC = { "rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": "Generate" };
const HEADERS = ["traceparent", "tracestate"];

/** Sends spans from now on, to where the standard environment variables say. @returns what sends the last ones */
export async function startTracing(): Promise<() => Promise<void>> {
  const { startExport } = await import("./tracing-export.ts");
  return startExport();
}

/** An attempt as a span; its stages stand below. */
export class RunTrace {
  private readonly span: Span;
  private readonly context: Context;
  private waiting: Span | undefined;

  constructor({ metadata }: Pick<CallContext, "metadata">, attributes: Attributes) {
    const headers = Object.fromEntries(HEADERS.map((name) => [name, metadata.get(name)]));
    const parent = propagation.extract(ROOT_CONTEXT, headers);
    const start = { kind: SpanKind.SERVER, attributes: { ...RPC, ...attributes } };
    this.span = trace.getTracer("atelier-worker").startSpan(`${SERVICE}/Generate`, start, parent);
    this.context = trace.setSpan(parent, this.span);
    this.waiting = this.begin("wait for start");
  }

  /** For records of the log: none unless somebody collects traces. */
  get ids(): { readonly trace_id?: string; readonly span_id?: string } {
    const { traceId, spanId } = this.span.spanContext();
    return this.isRecording ? { trace_id: traceId, span_id: spanId } : {};
  }

  /** Whether anybody is told of stages. */
  get isRecording(): boolean {
    return this.span.isRecording();
  }

  /** It computes, together with others, or alone. */
  start({ groupSize, stepsDone }: { readonly groupSize: number; readonly stepsDone: number }): void {
    this.waiting?.end();
    this.waiting = undefined;
    this.span.setAttributes({ "atelier.group.size": groupSize, "atelier.resumed.steps": stepsDone });
  }

  note(stage: Stage): void {
    const { kind, startedAt, endedAt } = stage;
    switch (kind) {
      case "steps": {
        const { from, to, pictures, diffusionAt } = stage;
        const attributes = { "atelier.steps.from": from, "atelier.steps.to": to, "atelier.pictures": pictures };
        const step = this.begin("mar step", { startTime: startedAt, attributes });
        this.begin("diffusion", { startTime: diffusionAt }, trace.setSpan(this.context, step)).end(endedAt);
        step.end(endedAt);
        return;
      }
      case "write answer":
        this.begin(kind, { startTime: startedAt, attributes: { "atelier.tokens": stage.tokens } }).end(endedAt);
        return;
      default:
        this.begin(kind, { startTime: startedAt }).end(endedAt);
    }
  }

  async during<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    const span = this.begin(name);
    return work().finally(() => span.end());
  }

  /** @param errorType never a message, which may say what was asked for */
  fail(errorType: string, code: number | undefined): void {
    if (code !== undefined) this.span.setAttribute("rpc.grpc.status_code", code);
    this.span.setAttribute("error.type", errorType).setStatus({ code: SpanStatusCode.ERROR });
  }

  end(): void {
    this.waiting?.end();
    this.span.end();
  }

  private begin(
    name: string,
    start: { readonly startTime?: number; readonly attributes?: Attributes } = {},
    parent: Context = this.context,
  ): Span {
    return trace.getTracer("atelier-worker").startSpan(name, start, parent);
  }
}
