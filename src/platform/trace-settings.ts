/**
 * Settings of traces: those of OpenTelemetry's own environment variables that say whether there are any. Its SDK reads them
 * again, and others that change how spans are sent.
 */
import { z } from "zod";

const SAMPLERS = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
const COLLECTOR_EXPECTED = "Give an address with http or https, such as http://127.0.0.1:4318.";
const SHARE_EXPECTED = "Give a share of traces from 0 to 1, such as 0.1.";

const collector = z.url({ protocol: /^https?$/, error: COLLECTOR_EXPECTED });
const share = z.coerce.number({ error: SHARE_EXPECTED }).min(0, { error: SHARE_EXPECTED });

export const traceVariables = {
  /** Collector that spans are sent to, by OTLP over HTTP; there are no traces unless set. */
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.optional(),
  /** The same for traces alone, with the path. */
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collector.optional(),
  /** What is sent along, such as a key of the collector: name=value, separated by commas. */
  OTEL_EXPORTER_OTLP_HEADERS: z.string().optional(),
  /** The one way to send them. */
  OTEL_EXPORTER_OTLP_PROTOCOL: z
    .enum(["http/protobuf"], { error: "Give http/protobuf, and the collector's port for it, which mostly is 4318." })
    .default("http/protobuf"),
  /** Who the spans are of; atelier of the server, atelier-worker of workers, unless set. */
  OTEL_SERVICE_NAME: z.string().optional(),
  /** More about that: name=value, separated by commas. */
  OTEL_RESOURCE_ATTRIBUTES: z.string().optional(),
  /** Which traces are kept. */
  OTEL_TRACES_SAMPLER: z
    .enum(SAMPLERS, { error: `Give one of ${SAMPLERS.join(", ")}.` })
    .default("parentbased_always_on"),
  /** Of the samplers with "ratio": how many of them. */
  OTEL_TRACES_SAMPLER_ARG: share.max(1, { error: SHARE_EXPECTED }).optional(),
  /** true: no traces, whatever else is set. */
  OTEL_SDK_DISABLED: z.enum(["true", "false"], { error: "Give true or false." }).default("false"),
};

const traceSchema = z.object(traceVariables);

/** Whether there is somebody to send spans to. */
export const isTracedBy = ({
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: tracesEndpoint,
  OTEL_SDK_DISABLED: isDisabled,
}: z.infer<typeof traceSchema>): boolean =>
  isDisabled === "false" && (endpoint !== undefined || tracesEndpoint !== undefined);
