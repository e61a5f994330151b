/**
 * Sends spans to a collector with OpenTelemetry's SDK, which is loaded only where there is one. The SDK reads the standard
 * environment variables itself. Spans wait in a queue of fixed length: a collector that is slow or gone costs spans, and nothing
 * else.
 */
import { setTimeout } from "node:timers/promises";
import { context, propagation, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
} from "@opentelemetry/sdk-trace-base";

/** Who stops does not wait longer for a collector. */
const FLUSH_MS = 2000;

export interface ExportOptions {
  /** Unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise. */
  readonly serviceName: string;
  /** Spans get lost from now on; `undefined`: they arrive again. */
  readonly onChange: (problem: Error | undefined) => void;
}

/** @returns what sends the last spans, and ends it */
export function startExport({ serviceName, onChange }: ExportOptions): () => Promise<void> {
  const own = resourceFromAttributes({ "service.name": serviceName, "process.pid": process.pid });
  const provider = new BasicTracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new TellingExporter(new OTLPTraceExporter(), onChange))],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return async () => {
    await Promise.race([provider.shutdown().catch(() => undefined), setTimeout(FLUSH_MS, undefined, { ref: false })]);
    for (const api of [context, propagation, trace]) api.disable();
  };
}

/** Tells once when spans begin to get lost, and once when they arrive again. */
class TellingExporter implements SpanExporter {
  private isFailing = false;

  constructor(
    private readonly exporter: SpanExporter,
    private readonly onChange: ExportOptions["onChange"],
  ) {}

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.exporter.export(spans, (result) => {
      const isFailing = result.code === ExportResultCode.FAILED;
      if (isFailing !== this.isFailing)
        this.onChange(isFailing ? (result.error ?? new Error("The collector refuses spans.")) : undefined);
      this.isFailing = isFailing;
      done(result);
    });
  }

  forceFlush(): Promise<void> {
    return this.exporter.forceFlush?.() ?? Promise.resolve();
  }

  shutdown(): Promise<void> {
    return this.exporter.shutdown();
  }
}
