import { join } from "node:path";
import { pino } from "pino";
import { inject } from "vitest";
import { DnsPlaces } from "../../src/pool/dns-places.ts";
import { EndpointSlices } from "../../src/pool/endpoint-slices.ts";
import { KubernetesApi } from "../../src/pool/kubernetes-api.ts";
import { LocalWorkers } from "../../src/pool/local-workers.ts";
import { type PlaceSource, RemoteWorkers } from "../../src/pool/remote-workers.ts";
import { StaticPlaces } from "../../src/pool/static-places.ts";
import { WorkerAccess } from "../../src/pool/worker-channel.ts";
import { FakeKubernetes } from "../support/fake-kubernetes.ts";
import { startTcpWorker } from "../support/tcp-worker.ts";
import { type DiscoveryUnderTest, workerDiscoveryConformance } from "./worker-discovery.ts";

const TOKEN = "a token for workers";
const logger = pino({ level: "silent" });

workerDiscoveryConformance("local child processes", async () => {
  const pids = new Map<string, number>();
  const noteStart = (line: string): void => {
    const { worker, pid } = JSON.parse(line) as { worker?: string; pid?: number };
    if (worker !== undefined && pid !== undefined) pids.set(worker, pid);
  };
  const discovery = new LocalWorkers({
    inferenceFolder: "dist/inference",
    checkpointFolder: "inference/presets/tiny",
    modelFolder: join(inject("templateData"), "models/tiny"),
    count: 1,
    dtype: "float32",
    provider: "cpu",
    threads: 1,
    slots: undefined,
    logger: pino({ base: null }, { write: noteStart }),
  });
  return { discovery, kill: (name) => process.kill(pids.get(name)!, "SIGKILL") };
});

interface Place {
  readonly host: string;
  readonly port: number;
}

/** A worker on loopback that somebody else runs. @param onRestart before another process takes its place */
async function remoteWorker(
  sourceAt: (place: Place) => Promise<PlaceSource> | PlaceSource,
  { onRestart, dispose }: { onRestart?: (place: Place) => void; dispose?: () => Promise<void> } = {},
): Promise<DiscoveryUnderTest> {
  let place: Place | undefined;
  const worker = await startTcpWorker({
    modelFolder: join(inject("templateData"), "models/tiny"),
    environment: { WORKER_TOKEN: TOKEN },
    isRestarted: true,
    onRestart: () => place && onRestart?.(place),
  });
  const [host = "", port] = worker.target.split(":");
  place = { host, port: Number(port) };
  const access = new WorkerAccess({ token: () => TOKEN, tls: undefined });
  return {
    discovery: new RemoteWorkers({ source: await sourceAt(place), access, logger }),
    kill: () => worker.child.kill("SIGKILL"),
    areOthers: true,
    async dispose() {
      await worker.stop();
      await dispose?.();
    },
  };
}

workerDiscoveryConformance("a list of addresses", () =>
  remoteWorker(({ host, port }) => new StaticPlaces([`${host}:${port}`])),
);

workerDiscoveryConformance("a name in the DNS", () =>
  remoteWorker(({ host, port }) => {
    const resolver = { addresses: async () => [host], services: async () => [] };
    return new DnsPlaces({ name: { host: "inference.example.org", port }, resolver, logger });
  }),
);

workerDiscoveryConformance("a Kubernetes service", () => {
  let api: FakeKubernetes | undefined;
  let pods = 0;
  const podAt = ({ host, port }: Place) => ({ name: `inference-${++pods}`, address: host, port });
  return remoteWorker(
    async (place) => {
      api = await FakeKubernetes.start([podAt(place)]);
      const kubernetes = new KubernetesApi({ url: api.url, accountFolder: undefined });
      return new EndpointSlices({ api: kubernetes, namespace: "atelier", service: "inference", port: "grpc", logger });
    },
    { onRestart: (place) => api?.change([podAt(place)]), dispose: async () => api?.stop() },
  );
});
