/** What objects say of one another, and of the programs that run in them: every wrong word is a line. */
import { existsSync } from "node:fs";
import { WORKER_VARIABLES } from "../../inference/worker/settings.ts";
import { environmentSchema, loadConfig } from "../../src/platform/config.ts";
import { IMAGES } from "./images.ts";
import { problemsOfQuery } from "./queries.ts";
import type { Container, Manifest, Of, PodSpec } from "./schemas.ts";

type Labels = Readonly<Record<string, string>>;

const SERVER_VARIABLES: readonly string[] = Object.keys(environmentSchema.shape);
/** Of the model tool, for downloads. */
const TOOL_VARIABLES = ["HF_TOKEN", "HF_ENDPOINT"];
const SECRETS = "atelier-secrets";
/** Of secrets that an operator makes (docs/deployment.md). */
const SAMPLE_SECRETS: Readonly<Record<string, string>> = {
  DATABASE_URL: "postgresql://atelier:secret@postgres:5432/atelier",
  BOOTSTRAP_ADMIN_KEY: `atelier_${"k".repeat(43)}`,
  REDIS_URL: "redis://:secret@redis:6379/0",
  REDIS_PASSWORD: "r",
  S3_ACCESS_KEY_ID: "a",
  S3_SECRET_ACCESS_KEY: "secret of the bucket",
  URL_SIGNING_SECRET: "s".repeat(32),
  METRICS_TOKEN: "m".repeat(32),
  WORKER_TOKEN: "w".repeat(32),
  HF_TOKEN: "h",
  DATABASE_MIGRATION_URL: "postgresql://owner:a@postgres:5432/atelier",
  POSTGRES_PASSWORD: "p",
};
/** With files tls.crt, tls.key and ca.crt. */
const CERTIFICATES = ["dispatcher-tls", "worker-tls"];
const PROBE_PATHS = ["/healthz", "/readyz"];

interface Workload {
  readonly id: string;
  readonly labels: Labels;
  readonly selector: Labels | undefined;
  readonly pod: PodSpec;
  /** Made for each of its pods. */
  readonly claims: readonly string[];
}

/** @returns what is wrong among objects that are applied together */
export function findProblems(manifests: readonly Manifest[]): readonly string[] {
  const of = <Kind extends Manifest["kind"]>(kind: Kind): Of<Kind>[] =>
    manifests.filter((manifest): manifest is Of<Kind> => manifest.kind === kind);
  const workloads = workloadsOf(manifests);
  const hasPod = (labels: Labels): boolean => workloads.some((workload) => includes(workload.labels, labels));
  const portsAt = (labels: Labels) =>
    workloads.filter((workload) => includes(workload.labels, labels)).flatMap(({ pod }) => portsOf(pod));
  const problems: string[] = [];
  const require = (isRight: boolean, problem: string): void => void (isRight || problems.push(problem));

  for (const workload of workloads) {
    require(workload.selector === undefined ||
      includes(workload.labels, workload.selector), `${workload.id}: its selector is not of its pods`);
    problems.push(...problemsOfPod(workload, manifests));
  }
  for (const { metadata, spec } of of("Service")) {
    require(hasPod(spec.selector), `Service ${metadata.name}: leads to no pod`);
    for (const { targetPort } of spec.ports) {
      const leads = portsAt(spec.selector).some(
        ({ name, containerPort }) => targetPort === name || targetPort === containerPort,
      );
      require(leads, `Service ${metadata.name}: leads to no port ${targetPort}`);
    }
  }
  for (const { metadata, spec } of of("PodDisruptionBudget"))
    require(hasPod(spec.selector.matchLabels), `PodDisruptionBudget ${metadata.name}: is of no pod`);
  for (const { metadata, spec } of of("NetworkPolicy")) {
    const ofPods = spec.podSelector.matchLabels;
    require(hasPod(ofPods), `NetworkPolicy ${metadata.name}: is of no pod`);
    for (const { from = [], ports } of spec.ingress) {
      for (const { podSelector } of from)
        require(podSelector === undefined ||
          hasPod(podSelector.matchLabels), `NetworkPolicy ${metadata.name}: from no pod`);
      for (const { port } of ports)
        require(portsAt(ofPods).some(
          ({ containerPort }) => containerPort === port,
        ), `NetworkPolicy ${metadata.name}: nobody listens on ${port}`);
    }
    for (const { to = [], ports } of spec.egress) {
      for (const { podSelector } of to) {
        if (podSelector === undefined) continue;
        for (const { port } of ports)
          require(portsAt(podSelector.matchLabels).some(
            ({ containerPort }) => containerPort === port,
          ), `NetworkPolicy ${metadata.name}: to no port ${port}`);
      }
    }
  }
  for (const workload of workloads) {
    const isCovered = of("NetworkPolicy").some(({ spec }) => includes(workload.labels, spec.podSelector.matchLabels));
    require(isCovered, `${workload.id}: no NetworkPolicy is of its pods`);
  }
  for (const { metadata, spec } of of("ServiceMonitor")) {
    const services = of("Service").filter(({ metadata: { labels = {} } }) =>
      includes(labels, spec.selector.matchLabels),
    );
    for (const { port, authorization } of spec.endpoints) {
      require(services.some((service) =>
        service.spec.ports.some(({ name }) => name === port),
      ), `ServiceMonitor ${metadata.name}: no service has a port ${port}`);
      require(authorization.credentials.key in SAMPLE_SECRETS, `ServiceMonitor ${metadata.name}: no such secret`);
    }
  }
  for (const { metadata, spec } of of("ScaledObject")) {
    require(of("Deployment").some(
      (target) => target.metadata.name === spec.scaleTargetRef.name,
    ), `ScaledObject ${metadata.name}: scales nothing`);
    for (const {
      metadata: { query },
    } of spec.triggers)
      problems.push(...problemsOfQuery(query, manifests));
  }
  for (const { spec } of of("PrometheusRule"))
    for (const { rules } of spec.groups)
      for (const { expr } of rules) problems.push(...problemsOfQuery(expr, manifests));
  for (const { metadata, roleRef, subjects } of of("RoleBinding")) {
    require(of("Role").some(
      (role) => role.metadata.name === roleRef.name,
    ), `RoleBinding ${metadata.name}: no such role`);
    for (const { name } of subjects)
      require(of("ServiceAccount").some(
        (account) => account.metadata.name === name,
      ), `RoleBinding ${metadata.name}: no such account`);
  }
  return problems;
}

function workloadsOf(manifests: readonly Manifest[]): readonly Workload[] {
  return manifests.flatMap((manifest) => {
    if (manifest.kind !== "Deployment" && manifest.kind !== "StatefulSet" && manifest.kind !== "Job") return [];
    const { template } = manifest.spec;
    const selector = "selector" in manifest.spec ? manifest.spec.selector.matchLabels : undefined;
    const claims =
      manifest.kind === "StatefulSet" ? manifest.spec.volumeClaimTemplates.map(({ metadata }) => metadata.name) : [];
    return [
      {
        id: `${manifest.kind} ${manifest.metadata.name}`,
        labels: template.metadata.labels,
        selector,
        pod: template.spec,
        claims,
      },
    ];
  });
}

const includes = (labels: Labels, selector: Labels): boolean =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

const portsOf = ({ containers }: PodSpec) => containers.flatMap(({ ports = [] }) => ports);

function problemsOfPod({ id, labels, pod, claims }: Workload, manifests: readonly Manifest[]): readonly string[] {
  const problems: string[] = [];
  const hasNamed = (kind: Manifest["kind"], name: string): boolean =>
    manifests.some((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  const { serviceAccountName, volumes = [], initContainers = [], containers, topologySpreadConstraints = [] } = pod;
  if (serviceAccountName !== undefined && !hasNamed("ServiceAccount", serviceAccountName))
    problems.push(`${id}: no such service account`);
  for (const { persistentVolumeClaim: claim } of volumes)
    if (claim != null && !hasNamed("PersistentVolumeClaim", claim.claimName))
      problems.push(`${id}: no claim ${claim.claimName}`);
  for (const { labelSelector } of topologySpreadConstraints)
    if (!includes(labels, labelSelector.matchLabels)) problems.push(`${id}: spreads other pods`);
  for (const { secret } of volumes) {
    if (secret === undefined || CERTIFICATES.includes(secret.secretName)) continue;
    if (secret.secretName !== SECRETS || secret.items === undefined)
      problems.push(`${id}: no secret ${secret.secretName} of files`);
    for (const { key } of secret.items ?? []) if (!(key in SAMPLE_SECRETS)) problems.push(`${id}: no secret ${key}`);
  }
  const volumeNames = [...volumes.map(({ name }) => name), ...claims];
  for (const each of [...initContainers, ...containers]) {
    const at = `${id}, ${each.name}`;
    for (const { name } of each.volumeMounts ?? [])
      if (!volumeNames.includes(name)) problems.push(`${at}: no volume ${name}`);
    if (each.image.includes("atelier/")) problems.push(...problemsOfProgram(at, each, manifests));
  }
  return problems;
}

const isApi = (manifest: Manifest): manifest is Of<"Deployment"> =>
  manifest.kind === "Deployment" && manifest.metadata.name === "api";

/** Of a container that runs a program of this repository. */
function problemsOfProgram(at: string, container: Container, manifests: readonly Manifest[]): readonly string[] {
  const problems: string[] = [];
  const image = /atelier\/([a-z-]+)/.exec(container.image)?.[1] ?? "";
  if (!IMAGES.includes(image)) problems.push(`${at}: the Dockerfile has no ${image}`);
  for (const word of container.command ?? [])
    if (word.startsWith("dist/") && !existsSync(sourceOf(word))) problems.push(`${at}: there is no ${sourceOf(word)}`);
  const variables = variablesOf(container, manifests);
  if (typeof variables === "string") return [...problems, `${at}: ${variables}`];
  const isServer = image === "api";
  const known = isServer ? SERVER_VARIABLES : [...WORKER_VARIABLES, ...TOOL_VARIABLES];
  for (const name of Object.keys(variables)) if (!known.includes(name)) problems.push(`${at}: nobody reads ${name}`);
  if ("DATABASE_MIGRATION_URL" in variables && !container.command?.includes("dist/src/migrate.js"))
    problems.push(`${at}: has the login of the owner`);
  const mounts = (container.volumeMounts ?? []).map(({ mountPath }) => mountPath);
  for (const [name, value] of Object.entries(variables)) {
    const isFile = value.startsWith("/");
    if (isFile && !mounts.some((mount) => value === mount || value.startsWith(`${mount}/`)))
      problems.push(`${at}: ${name} is in no volume`);
  }
  const listening = isServer
    ? [variables["PORT"]]
    : [variables["LISTEN"], variables["HEALTH_LISTEN"]].map((address) => address?.split(":").at(-1));
  for (const { containerPort } of container.ports ?? [])
    if (!listening.includes(String(containerPort))) problems.push(`${at}: does not listen on ${containerPort}`);
  if (isServer) {
    try {
      loadConfig({ ...variables, KUBERNETES_SERVICE_HOST: "10.0.0.1" });
    } catch (error) {
      problems.push(`${at}: ${String(error)}`);
    }
  }
  const { replicas = 1 } = manifests.find(isApi)?.spec ?? {};
  if (isServer && "REPLICAS" in variables && variables["REPLICAS"] !== String(replicas))
    problems.push(`${at}: REPLICAS is ${variables["REPLICAS"]}, and there are ${replicas} of the API`);
  return [...problems, ...problemsOfProbes(at, container, variables["HEALTH_LISTEN"])];
}

function problemsOfProbes(
  at: string,
  { ports = [], startupProbe, readinessProbe, livenessProbe }: Container,
  healthListen = "",
): readonly string[] {
  const problems: string[] = [];
  const probes = [startupProbe, readinessProbe, livenessProbe];
  if (ports.length > 0 && probes.includes(undefined)) problems.push(`${at}: a probe is missing`);
  for (const probe of probes) {
    if (probe?.httpGet !== undefined) {
      const { path, port } = probe.httpGet;
      if (!PROBE_PATHS.includes(path)) problems.push(`${at}: nothing is served at ${path}`);
      if (!ports.some(({ name, containerPort }) => port === name || port === containerPort))
        problems.push(`${at}: no port ${port}`);
    }
    if (probe?.grpc !== undefined && !healthListen.endsWith(`:${probe.grpc.port}`))
      problems.push(`${at}: no health service at ${probe.grpc.port}`);
  }
  return problems;
}

/** As the container has them, with secrets made up; or what is wrong. */
function variablesOf(
  { env = [], envFrom = [] }: Container,
  manifests: readonly Manifest[],
): Record<string, string> | string {
  const variables: Record<string, string> = {};
  for (const { configMapRef } of envFrom) {
    const found = manifests.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === configMapRef?.name);
    if (found?.kind !== "ConfigMap") return `no ConfigMap ${configMapRef?.name}`;
    Object.assign(variables, found.data);
  }
  for (const { name, value, valueFrom } of env) {
    const key = valueFrom?.secretKeyRef?.key;
    if (key !== undefined && !(key in SAMPLE_SECRETS)) return `no secret ${key}`;
    if (key === undefined && value === undefined) return `${name} has no value`;
    variables[name] = value ?? SAMPLE_SECRETS[key ?? ""] ?? "";
  }
  return variables;
}

export const sourceOf = (compiled: string): string => compiled.replace(/^dist\//, "").replace(/\.js$/, ".ts");
