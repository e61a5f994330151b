/** A collector of traces: takes OTLP over HTTP as protobuf, and keeps the spans. Field numbers: opentelemetry-proto, trace.proto. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

export interface CollectedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty of one that nobody began. */
  readonly parentSpanId: string;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly isError: boolean;
}

export interface Collector {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
  close(): Promise<void>;
}

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const isTraces = request.method === "POST" && request.url === "/v1/traces";
    if (isTraces) spans.push(...readRequest(Buffer.concat(chunks)));
    response.writeHead(isTraces ? 200 : 404, { "content-type": "application/x-protobuf" }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The values of a message by field number: numbers, or bytes of what is nested. */
function fieldsOf(bytes: Uint8Array): (field: number) => any[] {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, unknown[]>();
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const value =
      type === WireType.LengthDelimited
        ? reader.bytes()
        : type === WireType.Bit64
          ? reader.fixed64()
          : type === WireType.Bit32
            ? reader.fixed32()
            : reader.int64();
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return (field) => fields.get(field) ?? [];
}

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
const hexOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
const msOf = (nanoseconds: bigint | string | undefined): number => Number(BigInt(nanoseconds ?? 0) / 1000n) / 1000;

function readRequest(bytes: Uint8Array): CollectedSpan[] {
  return fieldsOf(bytes)(1).flatMap((resourceSpans) => {
    const of = fieldsOf(resourceSpans);
    const resource = attributesOf(fieldsOf(of(1)[0])(1));
    return of(2).flatMap((scopeSpans) =>
      fieldsOf(scopeSpans)(2).map((span) => readSpan(span, String(resource["service.name"]))),
    );
  });
}

function readSpan(bytes: Uint8Array, service: string): CollectedSpan {
  const of = fieldsOf(bytes);
  const status = of(15)[0];
  return {
    service,
    traceId: hexOf(of(1)[0]),
    spanId: hexOf(of(2)[0]),
    parentSpanId: hexOf(of(4)[0]),
    name: textOf(of(5)[0]),
    startedAt: msOf(of(7)[0]),
    endedAt: msOf(of(8)[0]),
    attributes: attributesOf(of(9)),
    isError: status !== undefined && Number(fieldsOf(status)(3)[0] ?? 0) === 2,
  };
}

function attributesOf(entries: readonly Uint8Array[]): Record<string, unknown> {
  return Object.fromEntries(
    entries.map((entry) => {
      const of = fieldsOf(entry);
      const value = fieldsOf(of(2)[0]);
      const [text] = value(1);
      const read = text === undefined ? Number(value(3)[0] ?? value(2)[0]) : textOf(text);
      return [textOf(of(1)[0]), read];
    }),
  );
}
