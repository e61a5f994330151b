/** Settings, from environment variables only. This file is the only reader of process.env. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { StartupError } from "./errors.ts";
import { type PoolWorkers, poolWorkersSchema } from "./pool-workers.ts";
import { type S3Settings, s3Of, s3Variables } from "./s3-settings.ts";
import { isTracedBy, traceVariables } from "./trace-settings.ts";

/** Messages say what is accepted, with an example: operators read them, who do not know of our checks. */
function integer(min: number, max: number, example: number) {
  const error = `Give a whole number from ${min} to ${max}, such as ${example}.`;
  return z.coerce.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

const commaList = z
  .string()
  .default("")
  .transform((list) =>
    list
      .split(",")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ""),
  );

const PROVIDERS = ["cpu", "cuda", "webgpu"] as const;
const DTYPES = ["float32", "int8", "float16", "bfloat16"] as const;
const ROLES = ["all", "api", "dispatcher"] as const;
const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;

const FACTORS_EXPECTED =
  "Give each preset once, with a factor of up to three decimals, such as tiny=0.5,unipic-1.5b=20.";
const MIN_SECRET_CHARACTERS = 16;

const DATABASE_EXPECTED =
  "Give the address of a PostgreSQL database, such as postgresql://atelier:secret@127.0.0.1:5432/atelier.";
const ISSUER_EXPECTED = "Give an address with https, such as https://accounts.example.org.";
const KEYS_EXPECTED = "Give an address with https, such as https://accounts.example.org/jwks.";

/** Keys that come without https can be anybody's; only on this machine that is no matter. */
const isSafe = (url: string): boolean => /^(https:|http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:|\/|$))/.test(url);

const CHECKER_EXPECTED =
  "Give an address with http or https and without a password, such as http://127.0.0.1:8080/check.";

/** As src/auth makes them. */
const API_KEY = /^atelier_[A-Za-z0-9_-]{43}$/;
const SIGNING_EXPECTED = "Give at least 32 characters, such as what `openssl rand -hex 32` prints.";
const KEY_EXPECTED =
  "Give atelier_ and 43 letters, digits, - or _, such as what `echo atelier_$(openssl rand -base64 32 | tr +/ -_ | tr -d =)` prints.";

/** One entry per variable, in the order of .env.example. */
export const environmentSchema = z.object({
  /** What this process does: everything, answering clients, or giving work to workers. */
  ROLE: z.enum(ROLES, { error: `Give one of ${ROLES.join(", ")}.` }).default("all"),
  /** Port of the GraphQL endpoint, the signed files and the health checks. */
  PORT: integer(0, 65535, 4000).default(4000),
  /** Address to listen on. 0.0.0.0 opens the server to the network. */
  HOST: z.string().min(1).default("127.0.0.1"),
  /** Address under which clients reach this server; signed URLs start with it. */
  PUBLIC_URL: z
    .url({
      protocol: /^https?$/,
      error: "Give an address with http or https, such as https://pictures.example.org.",
    })
    .optional(),
  /** Pages that may use the API from a browser, beside those of PUBLIC_URL: origins, separated by commas. */
  ALLOWED_ORIGINS: commaList.pipe(
    z.array(
      z.string().regex(/^https?:\/\/[^/\s]+$/, {
        error: "Give origins without a path, separated by commas, such as https://studio.example.org.",
      }),
    ),
  ),
  /** JSON file of the queries that clients may send, by SHA-256; all are taken unless set. */
  TRUSTED_DOCUMENTS: z.string().min(1).optional(),
  /** Points of query cost that a key may spend at once, and that it gets back each second. */
  RATE_LIMIT_POINTS: integer(1, 1_000_000_000, 20_000).default(20_000),
  RATE_LIMIT_POINTS_PER_SECOND: integer(1, 1_000_000, 2000).default(2000),
  /** Database, pictures, built models, secrets and credentials. */
  DATA_DIR: z.string().min(1).default(".atelier"),
  /** A PostgreSQL server (15 or later) to use instead of the database in DATA_DIR. */
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: DATABASE_EXPECTED }).optional(),
  ...s3Variables,
  /** Key of the first administrator of the platform, instead of keys that the first start makes. */
  BOOTSTRAP_ADMIN_KEY: z.string().regex(API_KEY, { error: KEY_EXPECTED }).optional(),
  /** What links are signed with, the same for all processes; made at the first start unless set. */
  URL_SIGNING_SECRET: z.string().min(32, { error: SIGNING_EXPECTED }).optional(),
  /** The same server without the pooler in between, where DATABASE_URL is that of a pooler: notifications and migrations need it. */
  DATABASE_DIRECT_URL: z.url({ protocol: /^postgres(ql)?$/, error: DATABASE_EXPECTED }).optional(),
  /** With a login that owns the tables, where that of DATABASE_URL only uses them. */
  DATABASE_MIGRATION_URL: z.url({ protocol: /^postgres(ql)?$/, error: DATABASE_EXPECTED }).optional(),
  /** Connections of this process at most, besides three for claims and notifications. */
  DATABASE_POOL_SIZE: integer(1, 1000, 10).default(10),
  /** Whether connections keep statements prepared: not through a pooler that does not know of them. */
  DATABASE_PREPARED: z.enum(["on", "off"], { error: "must be on or off" }).default("on"),
  /** A Redis server (7 or later) that carries frames between processes, and keeps rate limits that they share. */
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: "Give the address of a Redis server, such as redis://127.0.0.1:6379." })
    .optional(),
  /** Processes that serve the API: each allows its part of the rate limits while they share no Redis. */
  REPLICAS: integer(1, 1000, 3).default(1),
  /** OpenID Connect issuer whose tokens people sign in with; without one, there are keys only. */
  OIDC_ISSUER: z
    .url({ protocol: /^https?$/, error: ISSUER_EXPECTED })
    .refine(isSafe, { error: ISSUER_EXPECTED })
    .optional(),
  /** Who the tokens are for, as the issuer names this server. */
  OIDC_AUDIENCE: z.string().min(1).optional(),
  /** Where the issuer publishes its keys; found by discovery unless set. */
  OIDC_JWKS_URL: z
    .url({ protocol: /^https?$/, error: KEYS_EXPECTED })
    .refine(isSafe, { error: KEYS_EXPECTED })
    .optional(),
  /** Service that checks prompts and pictures, where lists of checks say so (docs/moderation.md). */
  MODERATION_URL: z
    .url({ protocol: /^https?$/, error: CHECKER_EXPECTED })
    .refine((url) => new URL(url).password === "" && new URL(url).username === "", { error: CHECKER_EXPECTED })
    .optional(),
  /** What questions to it are signed with. */
  MODERATION_SECRET: z.string().optional(),
  /** How long it may take to give a verdict, with all tries. */
  MODERATION_TIMEOUT_SECONDS: integer(1, 60, 10).default(10),
  /** Whoever has it may read /metrics; only this machine unless set. */
  METRICS_TOKEN: z.string().min(16, { error: "Give at least 16 characters." }).optional(),
  /** trace, debug, info, warn, error or silent. */
  LOG_LEVEL: z.enum(LOG_LEVELS, { error: `Give one of ${LOG_LEVELS.join(", ")}.` }).default("info"),
  ...traceVariables,
  /** Pool of workers that this process leads, if no other one does. */
  POOL: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/, { error: "Give up to 40 small letters, digits and -, such as gpu." })
    .default("local"),
  /** Worker processes on this machine. */
  WORKERS: integer(1, 64, 1).default(1),
  /** Threads of each worker; by the model's size unless set. */
  WORKER_THREADS: integer(1, 256, 4).optional(),
  /** Pictures that each worker draws together at most; by the model's size unless set. */
  WORKER_SLOTS: integer(1, 32, 4).optional(),
  /** What workers compute with: cpu, cuda or webgpu; the processor where another does not work. */
  WORKER_PROVIDER: z.enum(PROVIDERS, { error: `Give one of ${PROVIDERS.join(", ")}.` }).default("cpu"),
  /** Workers elsewhere, instead of those of this machine: where they are, or what tells it. */
  POOL_WORKERS: poolWorkersSchema,
  /** What callers show to workers elsewhere, the same on both sides. */
  WORKER_TOKEN: z.string().min(MIN_SECRET_CHARACTERS, { error: "Give at least 16 characters." }).optional(),
  /** File of such tokens instead, one in a line: the first is shown. Read again when it changes. */
  WORKER_TOKEN_FILE: z.string().min(1).optional(),
  /** Files in PEM form: certificate and key of this side, and who signs those of the other side. */
  WORKER_TLS_CERT: z.string().min(1).optional(),
  WORKER_TLS_KEY: z.string().min(1).optional(),
  WORKER_TLS_CA: z.string().min(1).optional(),
  /** Checkpoint folder of the preset that the workers serve. */
  PRESET_CHECKPOINT: z.string().min(1).default("inference/presets/tiny"),
  /** How its large weights are stored and multiplied: float32, int8, float16 or bfloat16. */
  PRESET_DTYPE: z.enum(DTYPES, { error: `Give one of ${DTYPES.join(", ")}.` }).default("float32"),
  /** What presets cost, as multiples of the tariff's prices, such as tiny=0.5,unipic-1.5b=20; 1 for others. */
  PRESET_PRICE_FACTORS: commaList
    .pipe(z.array(z.string().regex(/^[^=\s]+=\d{1,6}(\.\d{1,3})?$/, { error: FACTORS_EXPECTED })))
    .transform((entries) => entries.map((entry) => entry.split("=") as [string, string]))
    .refine((entries) => new Set(entries.map(([name]) => name)).size === entries.length, { error: FACTORS_EXPECTED })
    .transform((entries) => new Map(entries.map(([name, factor]) => [name, Number(factor)]))),
  /** For how long milestones and attempts of a generation are kept after its end; 0 for ever. */
  HISTORY_DAYS: integer(0, 36_500, 90).default(90),
  /** How long BATCH work waits for others at most, before it takes turns with them. */
  AGEING_SECONDS: integer(0, 604_800, 600).default(600),
  /** How long running generations may go on when the server is asked to stop; then they yield with a checkpoint. */
  SHUTDOWN_GRACE_SECONDS: integer(0, 3600, 5).default(5),
});

/** Paths. */
export interface WorkerTlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface PostgresSettings {
  readonly url: string;
  /** Of the server itself, where `url` is that of a pooler. */
  readonly directUrl: string | undefined;
  readonly migrationUrl: string | undefined;
  readonly poolSize: number;
  readonly prepares: boolean;
}

export interface Config {
  readonly role: (typeof ROLES)[number];
  readonly port: number;
  readonly host: string;
  /** Without a trailing slash; undefined until the port is known when neither is set. */
  readonly publicUrl: string | undefined;
  readonly allowedOrigins: readonly string[];
  /** Absolute path; undefined when every query is taken. */
  readonly trustedDocuments: string | undefined;
  readonly rateLimit: { readonly limit: number; readonly restorePerSecond: number };
  readonly dataDir: string;
  /** Undefined for the embedded database. */
  /** Undefined with the embedded database. */
  readonly postgres: PostgresSettings | undefined;
  /** Undefined where pictures are in DATA_DIR. */
  readonly s3: S3Settings | undefined;
  /** DATA_DIR is used by this process alone. */
  readonly isExclusive: boolean;
  /** Undefined where the first start makes keys. */
  readonly bootstrapAdminKey: string | undefined;
  /** Undefined where the data folder has one. */
  readonly urlSigningSecret: string | undefined;
  /** Undefined when this process shares nothing but the database. */
  readonly redisUrl: string | undefined;
  readonly replicas: number;
  /** Undefined when only this machine reads metrics. */
  readonly metricsToken: string | undefined;
  readonly logLevel: string;
  /** Somebody collects traces. */
  readonly isTraced: boolean;
  /** That this process leads. */
  readonly pool: string;
  readonly workers: {
    readonly count: number;
    readonly threads: number | undefined;
    readonly slots: number | undefined;
    readonly provider: string;
    readonly checkpoint: string;
    readonly dtype: string;
  };
  /** Undefined where workers are processes of this machine. */
  readonly remoteWorkers:
    | {
        readonly places: PoolWorkers;
        readonly token: string | undefined;
        /** Path, instead of a token. */
        readonly tokenFile: string | undefined;
        readonly tls: WorkerTlsFiles | undefined;
      }
    | undefined;
  /** Where the Kubernetes API is, for a server that runs in a pod. */
  readonly kubernetesUrl: string | undefined;
  /** By preset; 1 for others. */
  readonly priceFactors: ReadonlyMap<string, number>;
  /** Undefined when nobody signs in here. */
  readonly oidc:
    | { readonly issuer: string; readonly audience: string; readonly jwksUrl: string | undefined }
    | undefined;
  /** Undefined when no service checks anything. */
  readonly moderation: { readonly url: string; readonly secret: string; readonly timeoutMs: number } | undefined;
  readonly historyDays: number;
  readonly ageingMs: number;
  readonly shutdownGraceMs: number;
  /** By `npm start`, whose end must be ours. */
  readonly startedByNpm: boolean;
}

/** What a command of the user on this machine needs to know. */
export interface CommandConfig {
  /** The server's, by the same rules as its own. */
  readonly dataDir: string;
  /** Folder in which the command was typed: npm runs its scripts in that of the package. */
  readonly startedIn: string;
}

/** Folder of the checkout or image: the nearest one above this file that has a package.json. */
export const ROOT = findRoot(dirname(fileURLToPath(import.meta.url)));

function findRoot(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : findRoot(dirname(folder));
}

const IS_SECRET = /(TOKEN|SECRET|_KEY|_HEADERS)$/;

const postgresOf = (data: z.infer<typeof environmentSchema>): PostgresSettings | undefined =>
  data.DATABASE_URL === undefined
    ? undefined
    : {
        url: data.DATABASE_URL,
        directUrl: data.DATABASE_DIRECT_URL,
        migrationUrl: data.DATABASE_MIGRATION_URL,
        poolSize: data.DATABASE_POOL_SIZE,
        prepares: data.DATABASE_PREPARED === "on",
      };

/** Reports every wrong variable at once. */
export function loadConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const problems = new Map(parsed.error.issues.map(({ path, message }) => [path.join("."), message]));
    const shown = (name: string): string => (IS_SECRET.test(name) ? "" : ` It is "${withoutPassword(given[name])}".`);
    const lines = [...problems].map(([name, message]) => `  ${name}: ${message}${shown(name)}`);
    throw new StartupError(
      `These environment variables cannot be used (.env.example explains them):\n${lines.join("\n")}`,
    );
  }
  const { data } = parsed;
  const remoteWorkers = remoteWorkersOf(data);
  if (data.ROLE !== "all" && data.DATABASE_URL === undefined)
    throw new StartupError(`ROLE=${data.ROLE} needs DATABASE_URL: only one process can use the database in DATA_DIR.`);
  const hasLocalWorkers = data.ROLE !== "api" && remoteWorkers === undefined;
  return {
    role: data.ROLE,
    port: data.PORT,
    host: data.HOST,
    publicUrl: data.PUBLIC_URL?.replace(/\/+$/, ""),
    allowedOrigins: data.ALLOWED_ORIGINS,
    trustedDocuments: data.TRUSTED_DOCUMENTS && resolve(ROOT, data.TRUSTED_DOCUMENTS),
    rateLimit: { limit: data.RATE_LIMIT_POINTS, restorePerSecond: data.RATE_LIMIT_POINTS_PER_SECOND },
    dataDir: resolve(ROOT, data.DATA_DIR),
    postgres: postgresOf(data),
    s3: s3Of(data),
    isExclusive: data.DATABASE_URL === undefined || hasLocalWorkers,
    bootstrapAdminKey: data.BOOTSTRAP_ADMIN_KEY,
    urlSigningSecret: data.URL_SIGNING_SECRET,
    redisUrl: data.REDIS_URL,
    replicas: data.REPLICAS,
    metricsToken: data.METRICS_TOKEN,
    logLevel: data.LOG_LEVEL,
    isTraced: isTracedBy(data),
    pool: data.POOL,
    workers: {
      count: data.WORKERS,
      threads: data.WORKER_THREADS,
      slots: data.WORKER_SLOTS,
      provider: data.WORKER_PROVIDER,
      checkpoint: resolve(ROOT, data.PRESET_CHECKPOINT),
      dtype: data.PRESET_DTYPE,
    },
    remoteWorkers,
    kubernetesUrl: kubernetesUrlOf(environment),
    priceFactors: data.PRESET_PRICE_FACTORS,
    oidc: oidcOf(data),
    moderation: moderationOf(data),
    historyDays: data.HISTORY_DAYS,
    ageingMs: data.AGEING_SECONDS * 1000,
    shutdownGraceMs: data.SHUTDOWN_GRACE_SECONDS * 1000,
    startedByNpm: environment["npm_lifecycle_event"] === "start",
  };
}

function remoteWorkersOf({
  POOL_WORKERS: places,
  WORKER_TOKEN: token,
  WORKER_TOKEN_FILE: tokenFile,
  WORKER_TLS_CERT: cert,
  WORKER_TLS_KEY: key,
  WORKER_TLS_CA: ca,
}: z.infer<typeof environmentSchema>): Config["remoteWorkers"] {
  if (places === undefined) return undefined;
  if (token !== undefined && tokenFile !== undefined)
    throw new StartupError("WORKER_TOKEN and WORKER_TOKEN_FILE say the same twice. Set one of them.");
  const shown = { places, token, tokenFile };
  if (cert === undefined && key === undefined && ca === undefined) return { ...shown, tls: undefined };
  if (cert !== undefined && key !== undefined && ca !== undefined) return { ...shown, tls: { ca, cert, key } };
  throw new StartupError(
    "WORKER_TLS_CERT, WORKER_TLS_KEY and WORKER_TLS_CA go together: files in PEM form. Set all of them, or none.",
  );
}

/** As Kubernetes tells it to every container. */
function kubernetesUrlOf(environment: NodeJS.ProcessEnv): string | undefined {
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  if (!host) return undefined;
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Addresses may have one, and messages are kept in logs. */
const withoutPassword = (value = ""): string => value.replace(/\/\/[^/]*@/, "//…@");

function oidcOf({
  OIDC_ISSUER: issuer,
  OIDC_AUDIENCE: audience,
  OIDC_JWKS_URL: jwksUrl,
}: z.infer<typeof environmentSchema>): Config["oidc"] {
  if (issuer !== undefined && audience !== undefined) return { issuer, audience, jwksUrl };
  if (issuer === undefined && audience === undefined && jwksUrl === undefined) return undefined;
  throw new StartupError(
    "OIDC_ISSUER and OIDC_AUDIENCE go together: who issues the tokens of people, and for whom. Set both, or none.",
  );
}

/** The secret is never shown. */
function moderationOf({
  MODERATION_URL: url,
  MODERATION_SECRET: secret,
  MODERATION_TIMEOUT_SECONDS: seconds,
}: z.infer<typeof environmentSchema>): Config["moderation"] {
  if (url === undefined && secret === undefined) return undefined;
  if (url !== undefined && secret !== undefined && secret.length >= MIN_SECRET_CHARACTERS)
    return { url, secret, timeoutMs: seconds * 1000 };
  throw new StartupError(
    `MODERATION_URL and MODERATION_SECRET go together: which service checks, and a secret of at least ${MIN_SECRET_CHARACTERS} ` +
      "characters that questions to it are signed with. Set both, or none.",
  );
}

export function loadCommandConfig(environment: NodeJS.ProcessEnv = process.env): CommandConfig {
  const dataDir = environmentSchema.shape.DATA_DIR.parse(environment["DATA_DIR"] || undefined);
  const typedIn = environment["npm_lifecycle_event"] === "atelier" ? environment["INIT_CWD"] : undefined;
  return { dataDir: resolve(ROOT, dataDir), startedIn: typedIn ?? process.cwd() };
}
