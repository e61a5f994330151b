/** A private PgBouncer in transaction mode, from the program of this machine. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort } from "./free-port.ts";

/** Another one is tried by hand: PGBOUNCER=/path/to/pgbouncer npx vitest run test/platform/pooler.test.ts */
const PROGRAM = process.env["PGBOUNCER"] ?? "/usr/sbin/pgbouncer";
/** The first that keeps statements prepared. */
const KEEPS_PREPARED = 121;
/** It does not run as root: then as the user that PostgreSQL's package made. */
const SYSTEM_USER = "postgres";

export const hasPgBouncer = existsSync(PROGRAM);

/** Whether it knows of prepared statements. */
export const keepsPrepared = hasPgBouncer && versionOf(PROGRAM) >= KEEPS_PREPARED;

export interface PgBouncer {
  /** Of the same database, through it. */
  readonly url: string;
  stop(): Promise<void>;
}

/** @param connections of the server that it shares out */
export async function startPgBouncer(databaseUrl: string, connections: number): Promise<PgBouncer> {
  const { hostname, port: serverPort, username, password, pathname } = new URL(databaseUrl);
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "atelier-pgbouncer-"));
  const settings = join(folder, "pgbouncer.ini");
  const server = `host=${hostname} port=${serverPort} user=${username} password=${password}`;
  writeFileSync(
    settings,
    `[databases]
* = ${server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${connections}
${keepsPrepared ? "max_prepared_statements = 200" : ""}
`,
  );
  const isRoot = process.getuid?.() === 0;
  const args = isRoot ? ["-u", SYSTEM_USER, settings] : [settings];
  const child = spawn(PROGRAM, args, { stdio: ["ignore", "ignore", "pipe"], cwd: tmpdir() });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  for await (const line of createInterface(child.stderr)) if (line.includes("process up")) break;
  child.stderr.resume();
  if (child.exitCode !== null) throw new Error(`pgbouncer ended with ${child.exitCode}`);
  return {
    url: `postgresql://${username}:${password}@127.0.0.1:${port}${pathname}`,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

/** 118 for 1.18. */
function versionOf(program: string): number {
  const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  const [, major = "0", minor = "0"] = /PgBouncer (\d+)\.(\d+)/.exec(stdout) ?? [];
  return Number(major) * 100 + Number(minor);
}
