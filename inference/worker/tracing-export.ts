/**
 * Sends spans to a collector with OpenTelemetry's SDK, which is loaded only where there is one, and reads the standard
 * environment variables itself. A collector that is slow or gone costs spans, and nothing else.
 */
import { setTimeout } from "node:timers/promises";
import { propagation, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

/** Who stops does not wait longer for a collector. */
const FLUSH_MS = 2000;

/** @returns what sends the last spans */
export function startExport(): () => Promise<void> {
  const own = resourceFromAttributes({ "service.name": "atelier-worker", "process.pid": process.pid });
  const provider = new BasicTracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return async () => {
    await Promise.race([provider.shutdown().catch(() => undefined), setTimeout(FLUSH_MS)]);
  };
}
