/** Chooses how workers are found: one of the four adapters. */
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { CertificateFiles, type CertificatePaths, TokenFile } from "../proto/renewed-files.ts";
import { type Config, ROOT } from "./platform/config.ts";
import { StartupError } from "./platform/errors.ts";
import type { Logger } from "./platform/logger.ts";
import type { PoolWorkers } from "./platform/pool-workers.ts";
import { DnsPlaces, systemResolver } from "./pool/dns-places.ts";
import { EndpointSlices } from "./pool/endpoint-slices.ts";
import { KubernetesApi } from "./pool/kubernetes-api.ts";
import { LocalWorkers } from "./pool/local-workers.ts";
import { type PlaceSource, RemoteWorkers } from "./pool/remote-workers.ts";
import { StaticPlaces } from "./pool/static-places.ts";
import { WorkerAccess } from "./pool/worker-channel.ts";
import type { WorkerDiscovery } from "./pool/worker-discovery.ts";

/** Where Kubernetes puts what a pod shows to its API. */
const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";
/** Of the port of workers' services. */
const PORT_NAME = "grpc";

export function discoverWorkers(config: Config, logger: Logger): WorkerDiscovery {
  const { remoteWorkers } = config;
  if (remoteWorkers === undefined) return localWorkers(config, logger);
  const { places, token, tokenFile, tls } = remoteWorkers;
  const access = new WorkerAccess({
    token: tokenFile === undefined ? () => token : shownFrom(tokenFile),
    tls: tls && certificatesOf(tls, logger),
  });
  const source = sourceOf(places, { kubernetesUrl: config.kubernetesUrl, logger });
  return new RemoteWorkers({ source, access, logger });
}

function sourceOf(
  places: PoolWorkers,
  { kubernetesUrl, logger }: { readonly kubernetesUrl: string | undefined; readonly logger: Logger },
): PlaceSource {
  switch (places.kind) {
    case "LIST":
      return new StaticPlaces(places.targets);
    case "DNS":
    case "SRV":
      return new DnsPlaces({ name: places, resolver: systemResolver, logger });
    case "KUBERNETES": {
      if (kubernetesUrl === undefined || !existsSync(ACCOUNT_FOLDER))
        throw new StartupError(
          "POOL_WORKERS names a Kubernetes service, but this is no pod with a service account. Give addresses, or dns:<name>:<port>.",
        );
      const namespace = places.namespace ?? readFileSync(join(ACCOUNT_FOLDER, "namespace"), "utf8").trim();
      const api = new KubernetesApi({ url: kubernetesUrl, accountFolder: ACCOUNT_FOLDER });
      return new EndpointSlices({ api, namespace, service: places.service, port: PORT_NAME, logger });
    }
  }
}

function localWorkers({ dataDir, workers }: Config, logger: Logger): LocalWorkers {
  return new LocalWorkers({
    inferenceFolder: join(ROOT, "dist/inference"),
    checkpointFolder: workers.checkpoint,
    modelFolder: join(dataDir, "models", basename(workers.checkpoint)),
    dtype: workers.dtype,
    count: workers.count,
    threads: workers.threads,
    slots: workers.slots,
    provider: workers.provider,
    logger,
  });
}

/** The first token of the file. */
function shownFrom(path: string): () => string | undefined {
  try {
    const file = new TokenFile(path);
    return () => file.all[0];
  } catch (cause) {
    throw new StartupError(`WORKER_TOKEN_FILE cannot be used: ${reasonOf(cause)}`, { cause });
  }
}

function certificatesOf(paths: CertificatePaths, logger: Logger): CertificateFiles {
  try {
    return new CertificateFiles(paths, {
      renewed: () => logger.info("certificates for workers were renewed"),
      refused: (err) => logger.error({ err }, "changed certificates for workers cannot be used: the old ones stay"),
    });
  } catch (cause) {
    throw new StartupError(
      `The files of WORKER_TLS_CERT, WORKER_TLS_KEY and WORKER_TLS_CA cannot be used: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
