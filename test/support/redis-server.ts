/** A private Redis server in a temporary folder, from the program of this machine. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { createLogger } from "../../src/platform/logger.ts";
import { RedisConnection } from "../../src/platform/redis.ts";
import { freePort } from "./free-port.ts";

const PROGRAM = "/usr/bin/redis-server";

export const hasRedis = existsSync(PROGRAM);

export class RedisServer {
  private child: ChildProcess | undefined;
  private readonly folder = mkdtempSync(join(tmpdir(), "atelier-redis-"));

  private constructor(
    private readonly port: number,
    private readonly settings: readonly string[],
  ) {}

  /** @param settings beside those of a private server that keeps nothing on disk, such as "--maxmemory", "1mb" */
  static async start(...settings: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), settings);
    await server.restart();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it at its old address, empty, and waits until it takes connections. */
  async restart(): Promise<void> {
    const options = ["--bind", "127.0.0.1", "--port", String(this.port), "--dir", this.folder, "--save", ""];
    const child = spawn(PROGRAM, [...options, ...this.settings], { stdio: ["ignore", "pipe", "ignore"] });
    this.child = child;
    for await (const line of createInterface(child.stdout)) if (line.includes("Ready to accept connections")) break;
    child.stdout.resume();
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`);
  }

  /** Nothing is said to anybody. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Its connections stay, and nothing answers. */
  freeze(): void {
    this.child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.child?.kill("SIGCONT");
  }

  /** As if this time had passed for what a database holds: the lives of its keys, and times that they hold as microseconds. */
  async pass(url: string, ms: number): Promise<void> {
    const client = new Redis(url);
    for (const key of await client.keys("*")) {
      const left = await client.pttl(key);
      if ((await client.type(key)) === "string") await client.set(key, Number(await client.get(key)) - ms * 1000);
      if (left >= 0) await client.pexpire(key, left - ms);
    }
    client.disconnect();
  }

  /** A figure of its INFO. */
  async figure(name: string, password?: string): Promise<number> {
    const client = new Redis(this.url, password === undefined ? {} : { password });
    const found = new RegExp(`^${name}:(?:count=)?(\\d+)`, "m").exec(await client.info());
    client.disconnect();
    return Number(found?.[1]);
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A connection that is open. */
export async function connect(url: string, purpose = "test"): Promise<RedisConnection> {
  const connection = new RedisConnection({ url, purpose, timeoutMs: 1000, logger: createLogger("silent") });
  await new Promise<void>((resolve) => connection.onUp(resolve));
  return connection;
}
