/** The kinds of objects that are used, as their APIs define them; fields that an API does not know are refused. */
import { z } from "zod";

const object = z.strictObject;
const text = z.string().min(1);
const map = z.record(z.string(), z.string());
const count = z.number().int().min(0);
const port = z.number().int().min(1).max(65_535);
const portName = z.string().regex(/^[a-z0-9-]{1,15}$/);
const name = z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/);
const metadata = object({ name, labels: map.optional(), annotations: map.optional() });
const selector = object({ matchLabels: map });

const quantity = z.union([z.string().regex(/^\d+(\.\d+)?(m|[KMGT]i?)?$/), z.number().positive()]);
const resources = object({
  requests: z.record(z.string(), quantity).optional(),
  limits: z.record(z.string(), quantity).optional(),
});

const reference = object({ name, key: text, optional: z.boolean().optional() });
const variable = object({
  name: z.string().regex(/^[A-Z][A-Z0-9_]*$/),
  value: z.string().optional(),
  valueFrom: object({ secretKeyRef: reference.optional(), configMapKeyRef: reference.optional() }).optional(),
});
const exec = object({ command: z.array(text) });
const probe = object({
  httpGet: object({ path: z.string().startsWith("/"), port: z.union([portName, port]) }).optional(),
  grpc: object({ port, service: z.string().optional() }).optional(),
  exec: exec.optional(),
  tcpSocket: object({ port: z.union([portName, port]) }).optional(),
  periodSeconds: count.optional(),
  timeoutSeconds: count.optional(),
  failureThreshold: count.optional(),
  initialDelaySeconds: count.optional(),
});
const container = object({
  name,
  image: text,
  command: z.array(text).optional(),
  args: z.array(z.string()).optional(),
  env: z.array(variable).optional(),
  envFrom: z
    .array(object({ configMapRef: object({ name }).optional(), secretRef: object({ name }).optional() }))
    .optional(),
  ports: z
    .array(object({ name: portName, containerPort: port, protocol: z.enum(["TCP", "UDP"]).optional() }))
    .optional(),
  startupProbe: probe.optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  lifecycle: object({ preStop: object({ exec }) }).optional(),
  resources: resources.optional(),
  securityContext: object({
    allowPrivilegeEscalation: z.boolean(),
    readOnlyRootFilesystem: z.boolean(),
    capabilities: object({ drop: z.array(text) }),
  }).optional(),
  volumeMounts: z
    .array(object({ name, mountPath: z.string().startsWith("/"), readOnly: z.boolean().optional() }))
    .optional(),
});
const volume = object({
  name,
  secret: object({ secretName: name, items: z.array(object({ key: text, path: text })).optional() }).optional(),
  emptyDir: object({ sizeLimit: quantity.optional() }).nullish(),
  persistentVolumeClaim: object({ claimName: name, readOnly: z.boolean().optional() }).nullish(),
});
const podSpec = object({
  serviceAccountName: name.optional(),
  automountServiceAccountToken: z.boolean().optional(),
  terminationGracePeriodSeconds: count.optional(),
  restartPolicy: z.enum(["Always", "OnFailure", "Never"]).optional(),
  securityContext: object({
    runAsNonRoot: z.boolean(),
    runAsUser: count,
    runAsGroup: count,
    fsGroup: count,
    fsGroupChangePolicy: z.enum(["OnRootMismatch", "Always"]),
    seccompProfile: object({ type: z.enum(["RuntimeDefault", "Unconfined", "Localhost"]) }),
  }).optional(),
  tolerations: z
    .array(object({ key: text, operator: z.enum(["Exists", "Equal"]), effect: z.enum(["NoSchedule", "NoExecute"]) }))
    .optional(),
  topologySpreadConstraints: z
    .array(
      object({
        maxSkew: count,
        topologyKey: text,
        whenUnsatisfiable: z.enum(["ScheduleAnyway", "DoNotSchedule"]),
        labelSelector: selector,
      }),
    )
    .optional(),
  initContainers: z.array(container).optional(),
  containers: z.array(container).min(1),
  volumes: z.array(volume).optional(),
});
const template = object({ metadata: object({ labels: map }), spec: podSpec });

const claimSpec = object({
  accessModes: z.array(z.enum(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"])).length(1),
  resources: object({ requests: object({ storage: quantity }) }),
  storageClassName: text.optional(),
});
const deployment = object({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("Deployment"),
  metadata,
  spec: object({
    replicas: count.optional(),
    selector,
    strategy: object({ rollingUpdate: object({ maxUnavailable: count, maxSurge: count }) }).optional(),
    template,
  }),
});
const statefulSet = object({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("StatefulSet"),
  metadata,
  spec: object({
    serviceName: name,
    replicas: count,
    selector,
    template,
    volumeClaimTemplates: z.array(object({ metadata: object({ name }), spec: claimSpec })),
  }),
});
const job = object({
  apiVersion: z.literal("batch/v1"),
  kind: z.literal("Job"),
  metadata,
  spec: object({ backoffLimit: count, ttlSecondsAfterFinished: count.optional(), template }),
});
const service = object({
  apiVersion: z.literal("v1"),
  kind: z.literal("Service"),
  metadata,
  spec: object({
    clusterIP: z.literal("None").optional(),
    publishNotReadyAddresses: z.boolean().optional(),
    selector: map,
    ports: z.array(object({ name: portName, port, targetPort: z.union([portName, port]) })),
  }),
});
const serviceAccount = object({
  apiVersion: z.literal("v1"),
  kind: z.literal("ServiceAccount"),
  metadata,
  automountServiceAccountToken: z.boolean(),
});
const configMap = object({ apiVersion: z.literal("v1"), kind: z.literal("ConfigMap"), metadata, data: map });
const claim = object({
  apiVersion: z.literal("v1"),
  kind: z.literal("PersistentVolumeClaim"),
  metadata,
  spec: claimSpec,
});
const RBAC = "rbac.authorization.k8s.io";
const role = object({
  apiVersion: z.literal(`${RBAC}/v1`),
  kind: z.literal("Role"),
  metadata,
  rules: z.array(object({ apiGroups: z.array(z.string()), resources: z.array(text), verbs: z.array(text) })),
});
const roleBinding = object({
  apiVersion: z.literal(`${RBAC}/v1`),
  kind: z.literal("RoleBinding"),
  metadata,
  roleRef: object({ apiGroup: z.literal(RBAC), kind: z.literal("Role"), name }),
  subjects: z.array(object({ kind: z.literal("ServiceAccount"), name })),
});
const disruptionBudget = object({
  apiVersion: z.literal("policy/v1"),
  kind: z.literal("PodDisruptionBudget"),
  metadata,
  spec: object({ minAvailable: count.optional(), maxUnavailable: count.optional(), selector }),
});
const peers = z.array(object({ podSelector: selector.optional(), namespaceSelector: selector.optional() })).min(1);
const policyPorts = z.array(object({ protocol: z.enum(["TCP", "UDP"]), port })).min(1);
const networkPolicy = object({
  apiVersion: z.literal("networking.k8s.io/v1"),
  kind: z.literal("NetworkPolicy"),
  metadata,
  spec: object({
    podSelector: selector,
    policyTypes: z.array(z.enum(["Ingress", "Egress"])),
    ingress: z.array(object({ from: peers.optional(), ports: policyPorts })),
    egress: z.array(object({ to: peers.optional(), ports: policyPorts })),
  }),
});

const scalingPolicies = object({
  stabilizationWindowSeconds: count,
  policies: z.array(object({ type: z.enum(["Pods", "Percent"]), value: count, periodSeconds: count })).optional(),
});
/** KEDA 2 */
const scaledObject = object({
  apiVersion: z.literal("keda.sh/v1alpha1"),
  kind: z.literal("ScaledObject"),
  metadata,
  spec: object({
    scaleTargetRef: object({ name }),
    minReplicaCount: count,
    maxReplicaCount: count,
    pollingInterval: count,
    cooldownPeriod: count,
    advanced: object({
      horizontalPodAutoscalerConfig: object({
        behavior: object({ scaleUp: scalingPolicies, scaleDown: scalingPolicies }),
      }),
    }),
    triggers: z.array(
      object({
        type: z.literal("prometheus"),
        name,
        metadata: object({ serverAddress: z.url(), query: text, threshold: text, activationThreshold: text }),
      }),
    ),
  }),
});

/** Prometheus Operator */
const serviceMonitor = object({
  apiVersion: z.literal("monitoring.coreos.com/v1"),
  kind: z.literal("ServiceMonitor"),
  metadata,
  spec: object({
    selector,
    endpoints: z.array(
      object({ port: portName, path: z.string(), interval: text, authorization: object({ credentials: reference }) }),
    ),
  }),
});
const prometheusRule = object({
  apiVersion: z.literal("monitoring.coreos.com/v1"),
  kind: z.literal("PrometheusRule"),
  metadata,
  spec: object({
    groups: z.array(
      object({
        name,
        rules: z.array(
          object({
            alert: text,
            expr: text,
            for: text,
            labels: object({ severity: z.enum(["warning", "critical"]) }),
            annotations: object({ summary: text, runbook_url: z.url() }),
          }),
        ),
      }),
    ),
  }),
});

export const manifestSchema = z.discriminatedUnion("kind", [
  deployment,
  statefulSet,
  job,
  service,
  serviceAccount,
  configMap,
  claim,
  role,
  roleBinding,
  disruptionBudget,
  networkPolicy,
  scaledObject,
  serviceMonitor,
  prometheusRule,
]);
export type Manifest = z.infer<typeof manifestSchema>;
export type Of<Kind extends Manifest["kind"]> = Extract<Manifest, { kind: Kind }>;
export type Container = z.infer<typeof container>;
export type PodSpec = z.infer<typeof podSpec>;

export const kustomizationSchema = object({
  apiVersion: z.enum(["kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1"]),
  kind: z.enum(["Kustomization", "Component"]),
  resources: z.array(text).optional(),
  components: z.array(text).optional(),
  patches: z.array(object({ path: text })).optional(),
  configMapGenerator: z
    .array(
      object({
        name,
        files: z.array(text),
        options: object({ disableNameSuffixHash: z.literal(true), labels: map }),
      }),
    )
    .optional(),
  images: z.array(object({ name: text, newName: text.optional(), newTag: text.optional() })).optional(),
});
export type Kustomization = z.infer<typeof kustomizationSchema>;
