/** A private PostgreSQL server in a temporary folder, from the programs of this machine. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect } from "vitest";
import { freePort } from "./free-port.ts";
import { isRunning } from "./server-process.ts";
import { until } from "./until.ts";

const VERSIONS = "/usr/lib/postgresql";
/** The oldest that is supported. */
const MIN_VERSION = 15;
/** PostgreSQL does not run as root: then as the user that its package made. */
const SYSTEM_USER = "postgres";
const PROGRAMS = findPrograms();

export const hasPostgres = PROGRAMS !== undefined;

export interface PostgresServer {
  /** Of a new, empty database that an ordinary login owns, which may make roles. */
  createDatabase(): Promise<string>;
  /** Kills every process of it at once, as when the machine dies. */
  kill(): Promise<void>;
  /** Its connections stay, and nothing answers. @returns what lets it go on */
  freeze(): () => void;
  /** On the same data and port, after it was killed. */
  restart(): Promise<void>;
  /** As its operator does: connections are ended, and what was committed is written down. Resolves when it serves again. */
  restartInOrder(): Promise<void>;
  stop(): void;
}

/** @param settings of postgresql.conf; with the server's own defaults every commit is durable */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  if (PROGRAMS === undefined) throw new Error(`there is no PostgreSQL in ${VERSIONS}`);
  const folder = mkdtempSync(join(tmpdir(), "atelier-postgres-"));
  const data = join(folder, "data");
  const port = await freePort();
  if (isRoot()) spawnSync("chown", [SYSTEM_USER, folder]);
  await run("initdb", ["--pgdata", data, "--username", "admin", "--auth", "trust", "--encoding", "UTF8", "--no-sync"]);
  const options = Object.entries({ listen_addresses: "127.0.0.1", unix_socket_directories: folder, ...settings, port });
  const given = options.map(([name, value]) => `-c ${name}='${value}'`).join(" ");
  const start = (): Promise<void> =>
    run("pg_ctl", ["start", "--wait", "--pgdata", data, "--log", join(folder, "log"), "--options", given]);
  await start();
  const admin = `postgresql://admin@127.0.0.1:${port}`;
  await query(`${admin}/postgres`, "create role atelier_login login createrole password 'atelier'");
  let databases = 0;
  return {
    async createDatabase() {
      const name = `test_${++databases}`;
      await query(`${admin}/postgres`, `create database ${name} owner atelier_login`);
      return `postgresql://atelier_login:atelier@127.0.0.1:${port}/${name}`;
    },
    freeze() {
      const pids = processesOf(data);
      for (const pid of pids) signalIfThere(pid, "SIGSTOP");
      return () => {
        for (const pid of pids) signalIfThere(pid, "SIGCONT");
      };
    },
    async kill() {
      const pids = processesOf(data);
      for (const pid of pids) signalIfThere(pid, "SIGKILL");
      await until(() => expect(pids.filter(isRunning)).toEqual([]));
      // Where nobody reaps it, its process would seem to be there.
      for (const lock of [join(data, "postmaster.pid"), join(folder, `.s.PGSQL.${port}.lock`)]) rmSync(lock);
    },
    restart: start,
    restartInOrder: () =>
      run("pg_ctl", [
        "restart",
        "--wait",
        "--mode",
        "fast",
        "--pgdata",
        data,
        "--log",
        join(folder, "log"),
        "--options",
        given,
      ]),
    stop() {
      const [command, args] = asServer("pg_ctl", ["stop", "--pgdata", data, "--mode", "immediate", "--wait"]);
      spawnSync(command, args, { stdio: "ignore", cwd: tmpdir() });
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function query(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const [command, rest] = asServer(program, args);
  // Nothing is piped: the server would keep the pipes open.
  const [status] = await once(spawn(command, rest, { stdio: "ignore", cwd: tmpdir() }), "exit");
  if (status !== 0) throw new Error(`${program} ended with ${status}`);
}

function asServer(program: string, args: readonly string[]): [string, readonly string[]] {
  const path = join(PROGRAMS ?? "", program);
  return isRoot() ? ["runuser", ["-u", SYSTEM_USER, "--", path, ...args]] : [path, args];
}

/** The server's first. */
function processesOf(data: string): readonly number[] {
  const [postmaster = ""] = readFileSync(join(data, "postmaster.pid"), "utf8").split("\n");
  const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, "utf8").trim().split(" ");
  return [postmaster, ...children].map(Number);
}

/** A child may end by itself meanwhile. */
function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function findPrograms(): string | undefined {
  if (!existsSync(VERSIONS)) return undefined;
  const versions = readdirSync(VERSIONS).map(Number);
  const newest = Math.max(...versions.filter((version) => version >= MIN_VERSION));
  const folder = join(VERSIONS, String(newest), "bin");
  return existsSync(join(folder, "initdb")) ? folder : undefined;
}
