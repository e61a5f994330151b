/** Settings of a worker: flags, or environment variables where it is started without. The only reader of process.env here. */
import { parseArgs } from "node:util";
import { CertificateFiles, TokenFile } from "../../proto/renewed-files.ts";
import { PROVIDERS, type Provider } from "../runtime/provider.ts";
import { createLogger, LOG_LEVELS, type Logger, type LogLevel } from "./log.ts";

const MIN_TOKEN_CHARACTERS = 16;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]):\d+$/;
const USAGE =
  "usage: --model <model folder> --listen <unix:/path or host:port> [--health-listen <host:port>] [--provider name] [--threads n] " +
  "[--slots n] [--standby 0|1] [--log-level name], or the variables MODEL_DIR, LISTEN, HEALTH_LISTEN, WORKER_PROVIDER, WORKER_THREADS, " +
  "WORKER_SLOTS and LOG_LEVEL";

/** Of the environment, as far as a worker reads it; those of traces mean what they mean to the server. */
export const WORKER_VARIABLES = [
  "MODEL_DIR",
  "LISTEN",
  "HEALTH_LISTEN",
  "WORKER_PROVIDER",
  "WORKER_THREADS",
  "WORKER_SLOTS",
  "WORKER_TOKEN",
  "WORKER_TOKEN_FILE",
  "WORKER_TLS_CERT",
  "WORKER_TLS_KEY",
  "WORKER_TLS_CA",
  "LOG_LEVEL",
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "OTEL_EXPORTER_OTLP_HEADERS",
  "OTEL_EXPORTER_OTLP_PROTOCOL",
  "OTEL_SERVICE_NAME",
  "OTEL_RESOURCE_ATTRIBUTES",
  "OTEL_TRACES_SAMPLER",
  "OTEL_TRACES_SAMPLER_ARG",
  "OTEL_SDK_DISABLED",
] as const;

export interface WorkerSettings {
  /** Folder of the built model. */
  readonly model: string;
  /** unix:/path or host:port */
  readonly listen: string;
  /** host:port that answers nothing but whether the worker serves, to anybody. */
  readonly healthListen: string | undefined;
  readonly provider: Provider;
  /** By the model's size unless given. */
  readonly threads: number | undefined;
  readonly slots: number | undefined;
  /** Groups that wait here for the one that runs. */
  readonly standby: number;
  /** Of what callers have to show one; undefined where nothing is asked: on a Unix socket, whose folder is private, or on loopback. */
  readonly tokens: (() => readonly string[]) | undefined;
  readonly tls: CertificateFiles | undefined;
  readonly endsWithStdin: boolean;
  readonly logLevel: LogLevel;
  /** Somebody collects traces. */
  readonly isTraced: boolean;
}

export function readSettings(): WorkerSettings {
  const { values: flags } = parseArgs({
    options: {
      model: { type: "string" },
      listen: { type: "string" },
      "health-listen": { type: "string" },
      provider: { type: "string" },
      threads: { type: "string" },
      slots: { type: "string" },
      standby: { type: "string", default: "1" },
      "log-level": { type: "string" },
      "ends-with-stdin": { type: "boolean", default: false },
    },
  });
  const model = flags.model ?? variable("MODEL_DIR");
  const listen = flags.listen ?? variable("LISTEN");
  if (model === undefined || listen === undefined) throw new Error(USAGE);
  const logLevel = toLogLevel(flags["log-level"] ?? variable("LOG_LEVEL") ?? "info");
  const access = listen.startsWith("unix:")
    ? { tokens: undefined, tls: undefined }
    : readAccess(listen, createLogger(logLevel));
  return {
    model,
    listen,
    healthListen: flags["health-listen"] ?? variable("HEALTH_LISTEN"),
    provider: toProvider(flags.provider ?? variable("WORKER_PROVIDER") ?? "cpu"),
    threads: toCount(flags.threads ?? variable("WORKER_THREADS")),
    slots: toCount(flags.slots ?? variable("WORKER_SLOTS")),
    standby: flags.standby === "0" ? 0 : 1,
    ...access,
    endsWithStdin: flags["ends-with-stdin"],
    logLevel,
    isTraced:
      variable("OTEL_SDK_DISABLED") !== "true" &&
      (variable("OTEL_EXPORTER_OTLP_ENDPOINT") ?? variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) !== undefined,
  };
}

/** Empty means unset. */
const variable = (name: (typeof WORKER_VARIABLES)[number]): string | undefined => process.env[name] || undefined;

function readAccess(listen: string, logger: Logger): Pick<WorkerSettings, "tokens" | "tls"> {
  const tokens = readTokens();
  const tls = readTls(logger);
  if (tokens === undefined && tls === undefined && !LOOPBACK.test(listen))
    throw new Error(`Anybody could use this worker at ${listen}. Set WORKER_TOKEN, or WORKER_TLS_CERT, _KEY and _CA.`);
  return { tokens, tls };
}

function readTokens(): WorkerSettings["tokens"] {
  const [token, path] = [variable("WORKER_TOKEN"), variable("WORKER_TOKEN_FILE")];
  if (token !== undefined && path !== undefined)
    throw new Error("WORKER_TOKEN and WORKER_TOKEN_FILE say the same twice. Set one of them.");
  if (path !== undefined) {
    const file = new TokenFile(path);
    return () => file.all;
  }
  if (token !== undefined && token.length < MIN_TOKEN_CHARACTERS)
    throw new Error(`WORKER_TOKEN is too short: give at least ${MIN_TOKEN_CHARACTERS} characters.`);
  return token === undefined ? undefined : () => [token];
}

function readTls(logger: Logger): CertificateFiles | undefined {
  const [cert, key, ca] = [variable("WORKER_TLS_CERT"), variable("WORKER_TLS_KEY"), variable("WORKER_TLS_CA")];
  if (cert === undefined && key === undefined && ca === undefined) return undefined;
  if (cert === undefined || key === undefined || ca === undefined)
    throw new Error("WORKER_TLS_CERT, WORKER_TLS_KEY and WORKER_TLS_CA go together. Set all of them, or none.");
  return new CertificateFiles(
    { cert, key, ca },
    {
      renewed: () => logger.info("certificates were renewed"),
      refused: (err) => logger.error({ err }, "changed certificates cannot be used: the old ones stay"),
    },
  );
}

function toProvider(name: string): Provider {
  const provider = PROVIDERS.find((known) => known === name);
  if (provider !== undefined) return provider;
  throw new Error(`--provider ${name}: there is no such provider. Give one of ${PROVIDERS.join(", ")}.`);
}

function toLogLevel(name: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === name);
  if (level !== undefined) return level;
  throw new Error(`There is no log level "${name}". Give one of ${LOG_LEVELS.join(", ")}.`);
}

function toCount(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new Error(`"${text}" is no number of threads or slots.`);
  return Number(text);
}
