/** A real HTTP server that answers as the Kubernetes API does, of the endpoint slices of one service. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakePod {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export class FakeKubernetes {
  /** Paths with queries, in the order in which they were asked for. */
  readonly asked: string[] = [];
  private readonly watches = new Set<ServerResponse>();
  private pods: readonly FakePod[] = [];
  private version = 100;
  private wake: () => void = () => {};
  /** What the next watch is answered with instead. */
  refusal: number | undefined;

  private readonly server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://api");
    this.asked.push(request.url ?? "");
    response.setHeader("content-type", "application/json");
    const isSlices = pathname === "/apis/discovery.k8s.io/v1/namespaces/atelier/endpointslices";
    if (!isSlices || searchParams.get("labelSelector") !== "kubernetes.io/service-name=inference") {
      response.writeHead(404).end("{}");
    } else if (!searchParams.has("watch")) {
      const metadata = { resourceVersion: String(this.version) };
      response.end(JSON.stringify({ kind: "EndpointSliceList", metadata, items: [this.slice()] }));
    } else if (this.refusal !== undefined) {
      response.writeHead(this.refusal).end("{}");
      this.refusal = undefined;
    } else {
      response.flushHeaders();
      this.watches.add(response);
      response.on("close", () => this.watches.delete(response));
    }
    this.wake();
  });

  static async start(pods: readonly FakePod[]): Promise<FakeKubernetes> {
    const api = new FakeKubernetes();
    api.pods = pods;
    await new Promise<void>((resolve) => api.server.listen(0, "127.0.0.1", resolve));
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Resolves when so many requests have come. */
  async hasAnswered(count: number): Promise<void> {
    while (this.asked.length < count) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Others run now. @param options.isTold whether watches hear of it */
  change(pods: readonly FakePod[], { isTold = true }: { isTold?: boolean } = {}): void {
    this.pods = pods;
    this.version++;
    if (isTold) this.send({ type: "MODIFIED", object: this.slice() });
  }

  bookmark(): void {
    this.version++;
    this.send({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(this.version) } } });
  }

  /** Says in the watch that what its caller knows is too old. */
  expire(): void {
    this.send({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old resource version" } });
    this.endWatches();
  }

  endWatches(): void {
    for (const watch of this.watches) watch.end();
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private send(event: object): void {
    for (const watch of this.watches) watch.write(`${JSON.stringify(event)}\n`);
  }

  private slice(): object {
    const endpoints = this.pods.map(({ name, address }) => ({
      addresses: [address],
      conditions: { ready: true },
      targetRef: { kind: "Pod", name },
    }));
    return {
      metadata: { name: "inference-abc", resourceVersion: String(this.version) },
      addressType: "IPv4",
      endpoints,
      ports: [
        { name: "health", port: 1, protocol: "TCP" },
        { name: "grpc", port: this.pods[0]?.port ?? 1, protocol: "TCP" },
      ],
    };
  }
}
