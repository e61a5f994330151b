/** What Prometheus reads: figures of the whole server, for its operator only. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Metrics } from "../platform/metrics.ts";

const PATH = "/metrics";
const LOOPBACK = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/;

export class MetricsEndpoint {
  /** @param options.token whoever has it may read them; unless it is set, whoever asks from this machine, and not through a proxy */
  constructor(private readonly options: { readonly metrics: Metrics; readonly token: string | undefined }) {}

  isFor({ url = "" }: IncomingMessage): boolean {
    return url === PATH || url.startsWith(`${PATH}?`);
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics, token } = this.options;
    const { registry } = metrics;
    if (!(token === undefined ? isLocal(request) : hasToken(request, token))) {
      const error =
        token === undefined
          ? "Metrics are for this machine only. Set METRICS_TOKEN to read them from elsewhere."
          : 'Send METRICS_TOKEN as "authorization: Bearer <token>".';
      response.writeHead(token === undefined ? 403 : 401, { "content-type": "application/json" });
      response.end(JSON.stringify({ error }));
      return;
    }
    response.writeHead(200, { "content-type": registry.contentType, "cache-control": "no-store" });
    response.end(await registry.metrics());
  }
}

/** A proxy on this machine asks for others. */
const isLocal = ({ socket, headers }: IncomingMessage): boolean =>
  LOOPBACK.test(socket.remoteAddress ?? "") &&
  headers["x-forwarded-for"] === undefined &&
  headers["forwarded"] === undefined;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

const hasToken = ({ headers }: IncomingMessage, token: string): boolean =>
  timingSafeEqual(digest(headers.authorization ?? ""), digest(`Bearer ${token}`));
