/** A whole installation as processes of their own. Whatever ends is started again at once, at its old address, as Kubernetes would do. */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { newSecret } from "../../../src/auth/api-key.ts";
import { freePort } from "../../support/free-port.ts";
import { GraphqlClient } from "../../support/graphql-client.ts";
import { type PostgresServer, startPostgres } from "../../support/postgres-server.ts";
import { RedisServer } from "../../support/redis-server.ts";
import { S3Server } from "../../support/s3-server.ts";
import { isRunning, ServerProcess, temporaryFolder } from "../../support/server-process.ts";
import { startTcpWorker, type TcpWorker } from "../../support/tcp-worker.ts";
import { Network } from "./network.ts";

const TOKEN = "a token for workers";
/** Of each worker. The last one draws in company, which may change the last bits of a picture. */
export const SLOTS = [1, 1, 2];
const REPLICAS = 2;
const READY = "Atelier is ready";
/** Of a log record. */
const ERROR_LEVEL = 50;

/** A process that may be killed, and its successors. */
export interface Member {
  readonly name: string;
  /** Of the process that runs now. */
  readonly pid: number;
  /** Told to stop in order; resolves when another one does its work. */
  replace(): Promise<void>;
}

export interface World {
  readonly postgres: PostgresServer;
  readonly redis: RedisServer;
  readonly s3: S3Server;
  readonly network: Network;
  readonly apis: readonly Member[];
  readonly dispatchers: readonly Member[];
  readonly workers: readonly Member[];
  /** Of each API. */
  readonly urls: readonly string[];
  readonly adminKey: string;
  readonly databaseUrl: string;
  /** host:port of the link to each worker, as attempts name it. */
  readonly places: readonly string[];
  /** Of processes that were ready and ended although nobody told them to. */
  readonly crashes: readonly string[];
  /** What servers logged as an error, and how often. */
  errors(): ReadonlyMap<string, number>;
  /** Writes what the servers said into a folder. */
  keepLogs(): string;
  stop(): Promise<void>;
}

/** Resolves when the workers are known. */
export async function startWorld(modelFolder: string): Promise<World> {
  const folder = temporaryFolder();
  const [postgres, redis, s3] = [await startPostgres({ fsync: "off" }), await RedisServer.start(), new S3Server()];
  await s3.start();
  const crashes: string[] = [];
  const workers = await Promise.all(
    SLOTS.map((slots, index) =>
      startTcpWorker({
        modelFolder,
        environment: { WORKER_TOKEN: TOKEN, WORKER_SLOTS: String(slots) },
        isRestarted: true,
        onRestart: (end, log) => noteCrash({ name: `worker-${index}`, end, log }, crashes),
      }),
    ),
  );
  const databaseUrl = await postgres.createDatabase();
  const adminKey = newSecret();
  const network = new Network();
  const places = await Promise.all(
    workers.map(async ({ target }, index) => {
      const led = await network.lead(`http://${target}`, { name: `servers to worker-${index}`, weight: 2 });
      return new URL(led).host;
    }),
  );
  const environment = {
    ...s3.environment,
    POOL_WORKERS: places.join(),
    WORKER_TOKEN: TOKEN,
    BOOTSTRAP_ADMIN_KEY: adminKey,
    URL_SIGNING_SECRET: randomBytes(32).toString("hex"),
    RATE_LIMIT_POINTS: "1000000000",
    REPLICAS: String(REPLICAS),
    SHUTDOWN_GRACE_SECONDS: "2",
  };
  const start = async (name: string, role: string, port = 0): Promise<SupervisedServer> => {
    const links = {
      DATABASE_URL: await network.lead(databaseUrl, {
        name: `${name} to postgres`,
        weight: role === "dispatcher" ? 6 : 3,
      }),
      REDIS_URL: await network.lead(redis.url, { name: `${name} to redis`, weight: 1 }),
      S3_ENDPOINT: await network.lead(s3.endpoint, { name: `${name} to storage`, weight: 1 }),
    };
    return new SupervisedServer(
      name,
      folder.path,
      { ...environment, ...links, ROLE: role, PORT: String(port) },
      crashes,
    );
  };
  const indices = Array.from({ length: REPLICAS }, (_, index) => index);
  const ports = await Promise.all(indices.map(freePort));
  const apis = await Promise.all(ports.map((port, index) => start(`api-${index}`, "api", port)));
  const dispatchers = await Promise.all(indices.map((index) => start(`dispatcher-${index}`, "dispatcher")));
  const servers = [...apis, ...dispatchers];
  const urls = ports.map((port) => `http://127.0.0.1:${port}/graphql`);
  const world: World = {
    postgres,
    redis,
    s3,
    network,
    apis,
    dispatchers,
    workers: workers.map((worker, index) => memberOf(worker, index)),
    urls,
    adminKey,
    databaseUrl,
    places,
    crashes,
    errors: () => errorsOf(servers.map(({ log }) => log).join("\n")),
    keepLogs: () => keepLogs(servers),
    async stop() {
      await Promise.all([...servers, ...workers].map((each) => each.stop()));
      await network.stop();
      await redis.stop();
      await s3.stop();
      postgres.stop();
      folder.remove();
    },
  };
  try {
    await Promise.all(servers.map((server) => server.ready()));
    const administrator = new GraphqlClient(urls[0] ?? "", adminKey);
    await vi.waitUntil(async () => (await administrator.query("{ presets { name } }")).presets.length === 1, 60_000);
    return world;
  } catch (error) {
    await world.stop();
    throw error;
  }
}

interface Ended {
  readonly name: string;
  /** Exit code: 0 when it was told to end. Or the signal that ended it. */
  readonly end: number | NodeJS.Signals | null;
  readonly log: string;
}

/** What the storm does to processes is none. */
const OUR_ENDS: readonly Ended["end"][] = [0, "SIGKILL", "SIGTERM"];

function noteCrash({ name, end, log }: Ended, crashes: string[]): void {
  if (!OUR_ENDS.includes(end)) crashes.push(`${name} ended by itself with ${end}: ${log.slice(-2000)}`);
}

function memberOf(worker: TcpWorker, index: number): Member {
  return {
    name: `worker-${index}`,
    get pid() {
      return worker.child.pid ?? 0;
    },
    async replace() {
      const { pid = 0 } = worker.child;
      worker.child.kill("SIGTERM");
      await vi.waitUntil(() => !isRunning(pid) && worker.child.pid !== pid, { timeout: 150_000, interval: 50 });
    },
  };
}

class SupervisedServer implements Member {
  private process: ServerProcess;
  private readonly logs: string[] = [];
  private isStopped = false;

  constructor(
    readonly name: string,
    private readonly folder: string,
    private readonly environment: NodeJS.ProcessEnv,
    private readonly crashes: string[],
  ) {
    this.process = this.launch();
  }

  get pid(): number {
    return this.process.pid;
  }

  get log(): string {
    return [...this.logs, this.process.log].join("\n=== the next process ===\n");
  }

  /** Waits for the process that runs now, or for its successors. */
  async ready(): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        return await this.process.says(READY);
      } catch (error) {
        if (failures > 5) throw error;
      }
    }
  }

  async replace(): Promise<void> {
    await this.process.end("SIGTERM");
    await this.ready();
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.process.end("SIGKILL");
  }

  private launch(): ServerProcess {
    const launched = ServerProcess.launch(this.folder, this.environment);
    void launched.ended().then((end) => {
      if (this.isStopped) return;
      const { log } = launched;
      if (log.includes(READY)) noteCrash({ name: this.name, end, log }, this.crashes); // a start without a database fails
      this.logs.push(log);
      this.process = this.launch();
    });
    return launched;
  }
}

function errorsOf(log: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { level, msg, duty = "", err } of log.split("\n").flatMap(recordOf)) {
    if (level < ERROR_LEVEL) continue;
    const what = `${msg} ${duty}: ${(err?.message ?? "").replaceAll(/\s+/g, " ").slice(-100)}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return counts;
}

/** Nothing where a line is no record, or where its process was killed in the middle of it. */
function recordOf(line: string): readonly any[] {
  try {
    return line.startsWith("{") ? [JSON.parse(line)] : [];
  } catch {
    return [];
  }
}

function keepLogs(servers: readonly SupervisedServer[]): string {
  const folder = join(tmpdir(), `atelier-storm-${Date.now()}`);
  mkdirSync(folder);
  for (const { name, log } of servers) writeFileSync(join(folder, `${name}.log`), log);
  return folder;
}
