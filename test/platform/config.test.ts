import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { WORKER_VARIABLES } from "../../inference/worker/settings.ts";
import { environmentSchema, loadCommandConfig, loadConfig } from "../../src/platform/config.ts";
import { StartupError } from "../../src/platform/errors.ts";

test("without any variable every setting has a default", () => {
  const config = loadConfig({});
  expect(config).toMatchObject({
    port: 4000,
    host: "127.0.0.1",
    publicUrl: undefined,
    dataDir: resolve(".atelier"),
    startedByNpm: false,
  });
  expect(config.workers).toMatchObject({ count: 1, threads: undefined, slots: undefined });
});

test("an empty variable means its default", () => {
  expect(loadConfig({ PORT: "", DATA_DIR: "" })).toMatchObject({ port: 4000, dataDir: resolve(".atelier") });
});

test("all wrong variables are reported at once", () => {
  const start = () => loadConfig({ PORT: "http", LOG_LEVEL: "loud", PUBLIC_URL: "ftp://x" });
  expect(start).toThrow(/PORT: [\s\S]*PUBLIC_URL: [\s\S]*LOG_LEVEL: /);
  expect(start).toThrow(".env.example explains them");
});

test("a wrong variable is told with what it may be, and with an example", () => {
  const environment = {
    PORT: "abc",
    PUBLIC_URL: "pictures",
    LOG_LEVEL: "loud",
    WORKERS: "0",
    WORKER_THREADS: "-0.5",
    WORKER_SLOTS: "33",
    WORKER_PROVIDER: "gpu",
    PRESET_DTYPE: "int4",
  };
  expect(() => loadConfig(environment)).toThrow(
    new StartupError(
      [
        "These environment variables cannot be used (.env.example explains them):",
        '  PORT: Give a whole number from 0 to 65535, such as 4000. It is "abc".',
        '  PUBLIC_URL: Give an address with http or https, such as https://pictures.example.org. It is "pictures".',
        '  LOG_LEVEL: Give one of trace, debug, info, warn, error, silent. It is "loud".',
        '  WORKERS: Give a whole number from 1 to 64, such as 1. It is "0".',
        '  WORKER_THREADS: Give a whole number from 1 to 256, such as 4. It is "-0.5".',
        '  WORKER_SLOTS: Give a whole number from 1 to 32, such as 4. It is "33".',
        '  WORKER_PROVIDER: Give one of cpu, cuda, webgpu. It is "gpu".',
        '  PRESET_DTYPE: Give one of float32, int8, float16, bfloat16. It is "int4".',
      ].join("\n"),
    ),
  );
});

test("an issuer needs an audience, and https unless it is on this machine", () => {
  const environment = { OIDC_ISSUER: "https://accounts.example.org", OIDC_AUDIENCE: "atelier" };
  expect(loadConfig(environment).oidc).toEqual({
    issuer: "https://accounts.example.org",
    audience: "atelier",
    jwksUrl: undefined,
  });
  expect(loadConfig({}).oidc).toBeUndefined();
  for (const name of ["OIDC_ISSUER", "OIDC_AUDIENCE"]) {
    const start = () => loadConfig({ ...environment, [name]: "" });
    expect(start).toThrow("OIDC_ISSUER and OIDC_AUDIENCE go together");
  }
  const insecure = { ...environment, OIDC_ISSUER: "http://accounts.example.org", OIDC_JWKS_URL: "http://example.org/" };
  expect(() => loadConfig(insecure)).toThrow(/OIDC_ISSUER: Give an address with https[\s\S]*OIDC_JWKS_URL: /);
  for (const host of ["127.0.0.1:9000", "localhost", "[::1]:9000"])
    expect(loadConfig({ ...environment, OIDC_ISSUER: `http://${host}/` }).oidc?.issuer).toBe(`http://${host}/`);
  expect(() => loadConfig({ ...environment, OIDC_ISSUER: "http://127.0.0.1.example.org" })).toThrow(StartupError);
});

test("a service that checks has an address and a secret, which no message shows", () => {
  const environment = { MODERATION_URL: "http://127.0.0.1:8080/check", MODERATION_SECRET: "sixteen letters!" };
  expect(loadConfig(environment).moderation).toEqual({
    url: environment.MODERATION_URL,
    secret: environment.MODERATION_SECRET,
    timeoutMs: 10_000,
  });
  expect(loadConfig({}).moderation).toBeUndefined();
  const wrong = [{ MODERATION_SECRET: "" }, { MODERATION_URL: "" }, { MODERATION_SECRET: "short" }];
  for (const change of wrong) {
    const start = () => loadConfig({ ...environment, ...change });
    expect(start).toThrow("MODERATION_URL and MODERATION_SECRET go together");
    expect(start).not.toThrow(/sixteen|short/);
  }
  const withPassword = { ...environment, MODERATION_URL: "http://me:sesame@127.0.0.1/" };
  expect(() => loadConfig(withPassword)).toThrow("MODERATION_URL: Give an address");
});

test("a Redis server has an address, with TLS or without, whose password no message shows", () => {
  for (const url of ["redis://127.0.0.1:6379/1", "rediss://:sesame@redis.example.org"])
    expect(loadConfig({ REDIS_URL: url, REPLICAS: "3" })).toMatchObject({ redisUrl: url, replicas: 3 });
  expect(loadConfig({})).toMatchObject({ redisUrl: undefined, replicas: 1 });
  const start = () =>
    loadConfig({ REDIS_URL: "http://me:ses@me@127.0.0.1/0", DATABASE_URL: "mysql://me:sesame@db/one" });
  expect(start).toThrow(
    'REDIS_URL: Give the address of a Redis server, such as redis://127.0.0.1:6379. It is "http://…@127.0.0.1/0".',
  );
  expect(start).not.toThrow(/ses/);
});

test("a command finds the data folder as the server does", () => {
  for (const DATA_DIR of [undefined, "", "elsewhere", "/somewhere"]) {
    const environment = DATA_DIR === undefined ? {} : { DATA_DIR };
    expect(loadCommandConfig(environment).dataDir).toBe(loadConfig(environment).dataDir);
  }
});

test("a command starts where npm was called, or else where it runs", () => {
  expect(loadCommandConfig({ npm_lifecycle_event: "atelier", INIT_CWD: "/docs" }).startedIn).toBe("/docs");
  expect(loadCommandConfig({ npm_lifecycle_event: "test", INIT_CWD: "/docs" }).startedIn).toBe(process.cwd());
});

test("a public address keeps its path and loses its trailing slash", () => {
  expect(loadConfig({ PUBLIC_URL: "https://example.org/atelier/" }).publicUrl).toBe("https://example.org/atelier");
});

test("presets have the factors of their prices that the operator gives, each once", () => {
  const factors = (PRESET_PRICE_FACTORS: string) => [...loadConfig({ PRESET_PRICE_FACTORS }).priceFactors];
  expect(factors("")).toEqual([]);
  expect(factors("tiny=0.5, unipic-1.5b=20")).toEqual([
    ["tiny", 0.5],
    ["unipic-1.5b", 20],
  ]);
  for (const wrong of ["tiny", "tiny=-1", "tiny=0.0001", "tiny=1,tiny=2", "tiny=1;b=2"])
    expect(() => factors(wrong), wrong).toThrow("Give each preset once");
});

test("takes a bucket with its key, or none, and never shows the key", () => {
  const environment = { S3_BUCKET: "pictures", S3_ACCESS_KEY_ID: "AKIDEXAMPLE", S3_SECRET_ACCESS_KEY: "sesame" };
  expect(loadConfig({}).s3).toBeUndefined();
  expect(loadConfig({ ...environment, S3_REGION: "eu-central-1" }).s3).toEqual({
    bucket: "pictures",
    region: "eu-central-1",
    endpoint: "https://s3.eu-central-1.amazonaws.com",
    publicEndpoint: undefined,
    isPathStyle: true,
    accessKeyId: "AKIDEXAMPLE",
    secretAccessKey: "sesame",
    timeoutMs: 10_000,
  });
  const elsewhere = { S3_ENDPOINT: "http://127.0.0.1:9000/", S3_PATH_STYLE: "false" };
  expect(loadConfig({ ...environment, ...elsewhere }).s3).toMatchObject({
    endpoint: "http://127.0.0.1:9000",
    isPathStyle: false,
  });
  for (const missing of Object.keys(environment)) {
    const start = () => loadConfig({ ...environment, [missing]: "" });
    expect(start).toThrow("S3_BUCKET, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together");
    expect(start).not.toThrow("sesame");
  }
});

test(".env.example has exactly the variables of the code, with their defaults", () => {
  const lines = readFileSync(".env.example", "utf8").split("\n");
  const shown = new Map(
    lines.filter((line) => /^[A-Z0-9_]+=/.test(line)).map((line) => line.split("=", 2) as [string, string]),
  );
  const ofServer = Object.keys(environmentSchema.shape);
  expect([...shown.keys()]).toEqual([...ofServer, ...WORKER_VARIABLES.filter((name) => !ofServer.includes(name))]);
  const defaults = environmentSchema.parse({});
  for (const [name, value] of shown) {
    if (value !== "") expect(String(defaults[name as keyof typeof defaults]), name).toBe(value);
  }
});

test("workers elsewhere are named by their addresses, or by what knows them", () => {
  const placesOf = (POOL_WORKERS: string) => loadConfig({ POOL_WORKERS }).remoteWorkers?.places;
  expect(placesOf("")).toBeUndefined();
  const targets = ["10.0.0.5:50051", "[2001:db8::1]:50051", "gpu-1.example.org:6000"];
  expect(placesOf(targets.join(", "))).toEqual({ kind: "LIST", targets });
  expect(placesOf("dns:inference.atelier:50051")).toEqual({ kind: "DNS", host: "inference.atelier", port: 50051 });
  expect(placesOf("srv:_grpc._tcp.inference")).toEqual({ kind: "SRV", srv: "_grpc._tcp.inference" });
  expect(placesOf("kubernetes:inference")).toEqual({ kind: "KUBERNETES", service: "inference" });
  expect(placesOf("kubernetes:gpu/inference")).toEqual({ kind: "KUBERNETES", namespace: "gpu", service: "inference" });
  for (const wrong of [
    "10.0.0.5",
    "10.0.0.5:0",
    "10.0.0.5:99999",
    "a:1,,b:1",
    "dns:name",
    "srv:",
    "kubernetes:A/b/c",
    "http://a:1",
  ])
    expect(() => placesOf(wrong), wrong).toThrow("POOL_WORKERS: Give addresses with ports");
});

test("certificates for workers need all their files", () => {
  const environment = { POOL_WORKERS: "10.0.0.5:50051", WORKER_TOKEN: "sixteen letters!" };
  const files = { WORKER_TLS_CERT: "cert.pem", WORKER_TLS_KEY: "key.pem", WORKER_TLS_CA: "ca.pem" };
  expect(loadConfig({ ...environment, ...files }).remoteWorkers).toMatchObject({
    token: "sixteen letters!",
    tls: { ca: "ca.pem", cert: "cert.pem", key: "key.pem" },
  });
  for (const name of Object.keys(files)) {
    const start = () => loadConfig({ ...environment, ...files, [name]: "" });
    expect(start).toThrow("WORKER_TLS_CERT, WORKER_TLS_KEY and WORKER_TLS_CA go together");
  }
});

test("the token for workers is given as it is, or in a file", () => {
  const environment = { POOL_WORKERS: "10.0.0.5:50051", WORKER_TOKEN_FILE: "/worker-token/token" };
  expect(loadConfig(environment).remoteWorkers).toMatchObject({ token: undefined, tokenFile: "/worker-token/token" });
  expect(() => loadConfig({ ...environment, WORKER_TOKEN: "sixteen letters!" })).toThrow("Set one of them.");
});

test("a part of a server needs a database that others can use, too; only then is its data folder shared", () => {
  const DATABASE_URL = "postgresql://atelier@127.0.0.1/atelier";
  for (const ROLE of ["api", "dispatcher"])
    expect(() => loadConfig({ ROLE })).toThrow(`ROLE=${ROLE} needs DATABASE_URL`);
  const isExclusive = (environment: NodeJS.ProcessEnv) => loadConfig(environment).isExclusive;
  expect(isExclusive({})).toBe(true);
  expect(isExclusive({ POOL_WORKERS: "a:1" })).toBe(true);
  expect(isExclusive({ DATABASE_URL })).toBe(true);
  expect(isExclusive({ DATABASE_URL, ROLE: "dispatcher" })).toBe(true);
  expect(isExclusive({ DATABASE_URL, ROLE: "dispatcher", POOL_WORKERS: "a:1" })).toBe(false);
  expect(isExclusive({ DATABASE_URL, ROLE: "api" })).toBe(false);
});

test("no message shows a secret", () => {
  const secrets = {
    WORKER_TOKEN: "sesame",
    METRICS_TOKEN: "sesame",
    BOOTSTRAP_ADMIN_KEY: "sesame",
    URL_SIGNING_SECRET: "sesame",
  };
  for (const [name, value] of Object.entries(secrets)) {
    const start = () => loadConfig({ [name]: value });
    expect(start).toThrow(`${name}: Give`);
    expect(start).not.toThrow("sesame");
  }
});
