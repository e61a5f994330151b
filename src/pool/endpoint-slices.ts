/**
 * The pods of a Kubernetes service: listed once, then watched. Whether a pod is ready is no matter here, because workers
 * say themselves whether they serve; one that terminates stays in its slice until it is gone.
 */
import { z } from "zod";
import type { Logger } from "../platform/logger.ts";
import { targetOf } from "./dns-places.ts";
import { type KubernetesApi, KubernetesApiError } from "./kubernetes-api.ts";
import type { PlaceSource, WorkerPlace } from "./remote-workers.ts";

/** After which the server ends a watch, which then goes on where it was. */
const WATCH_SECONDS = 240;
const RETRY_MS = 1000;
/** What is known is older than what the server remembers. */
const GONE = 410;

const sliceSchema = z.object({
  metadata: z.object({ name: z.string(), resourceVersion: z.string() }),
  endpoints: z
    .array(
      z.object({ addresses: z.array(z.string()), targetRef: z.object({ name: z.string().optional() }).optional() }),
    )
    .nullish(),
  ports: z.array(z.object({ name: z.string().nullish(), port: z.number().nullish() })).nullish(),
});
type Slice = z.infer<typeof sliceSchema>;

const listSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }), items: z.array(sliceSchema) });
const bookmarkSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }) });
const statusSchema = z.object({ code: z.number().default(0), message: z.string().default("") });
const eventSchema = z.discriminatedUnion("type", [
  z.object({ type: z.enum(["ADDED", "MODIFIED", "DELETED"]), object: sliceSchema }),
  z.object({ type: z.literal("BOOKMARK"), object: bookmarkSchema }),
  z.object({ type: z.literal("ERROR"), object: statusSchema }),
]);

export interface EndpointSlicesOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
  /** Of the port, as the service names it. */
  readonly port: string;
  readonly logger: Logger;
}

export class EndpointSlices implements PlaceSource {
  private readonly slices = new Map<string, Slice>();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(private readonly options: EndpointSlicesOptions) {}

  async start(listener: (places: readonly WorkerPlace[]) => void): Promise<void> {
    this.running = this.run(() => listener(this.places()));
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** What is known holds while the server cannot be asked. */
  private async run(changed: () => void): Promise<void> {
    const { signal } = this.stopping;
    let version: string | undefined;
    while (!signal.aborted) {
      try {
        if (version === undefined) {
          version = await this.list();
          changed();
        }
        for await (const next of this.watch(version, changed)) version = next;
      } catch (error) {
        if (signal.aborted) return;
        const isGone = error instanceof KubernetesApiError && error.status === GONE;
        if (isGone) version = undefined;
        else this.options.logger.warn({ err: error }, "the workers' endpoints cannot be watched: tried again");
        if (!isGone) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** @returns the version that was read */
  private async list(): Promise<string> {
    const { api } = this.options;
    const { metadata, items } = listSchema.parse(await api.get(this.path({}), this.stopping.signal));
    this.slices.clear();
    for (const slice of items) this.slices.set(slice.metadata.name, slice);
    return metadata.resourceVersion;
  }

  /** @returns each version that was reached */
  private async *watch(version: string, changed: () => void): AsyncGenerator<string> {
    const parameters = { watch: "1", allowWatchBookmarks: "true", timeoutSeconds: String(WATCH_SECONDS) };
    const path = this.path({ ...parameters, resourceVersion: version });
    for await (const line of this.options.api.watch(path, this.stopping.signal)) {
      const event = eventSchema.parse(line);
      if (event.type === "ERROR") throw new KubernetesApiError(event.object.code, event.object.message);
      if (event.type === "DELETED") this.slices.delete(event.object.metadata.name);
      else if (event.type !== "BOOKMARK") this.slices.set(event.object.metadata.name, event.object);
      if (event.type !== "BOOKMARK") changed();
      yield event.object.metadata.resourceVersion;
    }
  }

  private path(parameters: Readonly<Record<string, string>>): string {
    const { namespace, service } = this.options;
    const query = new URLSearchParams({ labelSelector: `kubernetes.io/service-name=${service}`, ...parameters });
    return `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?${query}`;
  }

  private places(): readonly WorkerPlace[] {
    const { service, namespace, port: portName } = this.options;
    const serverName = `${service}.${namespace}.svc`;
    return [...this.slices.values()].flatMap(({ endpoints, ports }) => {
      const port = ports?.find(({ name }) => name === portName)?.port;
      if (port == null) return [];
      return (endpoints ?? []).flatMap(({ addresses: [address], targetRef }) => {
        if (address === undefined) return [];
        const target = targetOf(address, port);
        return [{ name: targetRef?.name ?? target, target, serverName }];
      });
    });
  }
}
