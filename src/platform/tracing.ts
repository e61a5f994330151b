/**
 * Traces: what becomes of a generation, as spans of one trace, whichever processes have a part in it. Unless somebody collects
 * them, nothing but the no-ops of the API is loaded. Attributes hold ids, names and numbers: never texts of users, nor keys.
 */
import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { DomainError } from "./errors.ts";
import type { ExportOptions } from "./tracing-export.ts";

export { type Attributes, type Context, type Span, SpanKind };

const SCOPE = "atelier";

let isOn = false;

/** Sends spans from now on, to where the standard environment variables say. @returns what sends the last ones, and ends it */
export async function startTracing(options: ExportOptions): Promise<() => Promise<void>> {
  const { startExport } = await import("./tracing-export.ts");
  const stop = startExport(options);
  isOn = true;
  return async () => {
    isOn = false;
    await stop();
  };
}

/** Whether anything but spans may be done for a trace, such as asking the database for where it began. */
export const isTracing = (): boolean => isOn;

export interface SpanStart {
  readonly kind?: SpanKind;
  readonly attributes?: Attributes;
  /** The active span unless given. */
  readonly parent?: Context;
  /** Milliseconds since 1970; now unless given. */
  readonly startTime?: number;
}

/** Does the work as a span, which is the active one meanwhile. What it throws fails the span, too. */
export async function inSpan<Result>(
  name: string,
  { parent = context.active(), ...options }: SpanStart,
  work: (span: Span) => Promise<Result>,
): Promise<Result> {
  return trace.getTracer(SCOPE).startActiveSpan(name, options, parent, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      failSpan(span, errorTypeOf(error));
      throw error;
    } finally {
      span.end();
    }
  });
}

/** A span that the caller ends, and its context. */
export function beginSpan(name: string, { parent = context.active(), ...options }: SpanStart): [Span, Context] {
  const span = trace.getTracer(SCOPE).startSpan(name, options, parent);
  return [span, trace.setSpan(parent, span)];
}

/** A class of errors, for all to count: never a message. */
export function failSpan(span: Span, errorType: string): void {
  span.setAttribute("error.type", errorType).setStatus({ code: SpanStatusCode.ERROR });
}

const errorTypeOf = (error: unknown): string =>
  error instanceof DomainError ? error.code : error instanceof Error ? error.name : "unknown";

/** Says more of the active span. */
export function noteOnSpan(attributes: Attributes, errorType?: string): void {
  const span = trace.getActiveSpan();
  span?.setAttributes(attributes);
  if (span !== undefined && errorType !== undefined) failSpan(span, errorType);
}

/** Does the work as part of this context, whoever called. */
export const within = <Result>(parent: Context, work: () => Result): Result => context.with(parent, work);

/** Of nobody: for work that somebody set going, but that is not done for them. */
export const NOBODY: Context = ROOT_CONTEXT;

/** The headers with which others continue the trace of a context (W3C Trace Context); none without one. */
export function headersOf(of: Context = context.active()): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  propagation.inject(of, headers);
  return headers;
}

/** What is stored with a generation, so that whoever runs it continues the trace; undefined without one. */
export const activeTraceparent = (): string | undefined => headersOf()["traceparent"];

/** The other way round. Without headers, or with such as nobody understands, it is the context of nobody. */
export const contextOf = (headers: Readonly<Record<string, unknown>>): Context =>
  propagation.extract(ROOT_CONTEXT, headers);

/** For records of the log, by the names that OpenTelemetry gives them. */
export function activeTraceIds(): { readonly trace_id?: string; readonly span_id?: string } {
  const active = trace.getSpanContext(context.active());
  return active === undefined ? {} : { trace_id: active.traceId, span_id: active.spanId };
}
