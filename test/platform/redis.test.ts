import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Metrics } from "../../src/platform/metrics.ts";
import { RedisConnection } from "../../src/platform/redis.ts";
import { Told } from "../support/metrics.ts";
import { hasRedis, RedisServer } from "../support/redis-server.ts";
import { until } from "../support/until.ts";

describe.skipIf(!hasRedis)("a connection to Redis (needs redis-server)", () => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await RedisServer.start("--requirepass", "sesame", "--maxmemory", "3mb");
  });
  afterAll(() => server.stop());

  /** A connection, and what it logs. */
  const open = (password: string) => {
    const lines: any[] = [];
    const logger = pino({}, { write: (line) => void lines.push(JSON.parse(line)) });
    const url = server.url.replace("//", `//:${password}@`);
    const metrics = new Metrics({ role: "api", pool: "local" });
    const told = async () => new Told(await metrics.registry.metrics());
    return { lines, told, connection: new RedisConnection({ url, purpose: "test", timeoutMs: 1000, logger, metrics }) };
  };
  const messages = (lines: readonly any[]): string[] => lines.map(({ msg }) => msg);

  test("says once that it is not let in, and why, without the password", async () => {
    const { connection, lines, told } = open("open barley");
    await until(async () => expect(await server.figure("errorstat_WRONGPASS", "sesame")).toBeGreaterThan(2));
    connection.close();
    expect(connection.isUp).toBe(false);
    expect((await told()).value("atelier_redis_up", { connection: "test" })).toBe(0);
    expect(lines).toMatchObject([{ msg: "redis is away", connection: "test" }]);
    expect(lines[0].reason).toContain("WRONGPASS");
    expect(JSON.stringify(lines)).not.toContain("barley");
    await expect(connection.ask((client) => client.ping())).rejects.toThrow("Redis is away");
  });

  test("goes on with what is not refused when the memory is full, and says so once, without what was to be stored", async () => {
    const { connection, lines, told } = open("sesame");
    await new Promise<void>((resolve) => connection.onUp(resolve));
    expect((await told()).value("atelier_redis_up", { connection: "test" })).toBe(1);
    const fill = async () => {
      for (let i = 0; i < 100; i++)
        await connection.ask((client) => client.set(`key ${i}`, "somebody's preview".repeat(5000)));
    };
    await expect(fill()).rejects.toThrow("OOM");
    await expect(fill()).rejects.toThrow("OOM");
    expect(await connection.ask((client) => client.ping())).toBe("PONG");
    const commands = async (outcome: string) =>
      (await told()).value("atelier_redis_command_seconds_count", { outcome });
    expect(await commands("failed")).toBe(2);
    expect(await commands("done")).toBeGreaterThan(0);
    expect(messages(lines)).toEqual(["redis refused a command"]);
    expect(JSON.stringify(lines)).not.toContain("preview");
    connection.close();
  });

  test("says when it is away and when it is back", async () => {
    const { connection, lines } = open("sesame");
    await new Promise<void>((resolve) => connection.onUp(resolve));
    await server.kill();
    await until(() => expect(connection.isUp).toBe(false));
    await server.restart();
    await until(() => expect(connection.isUp).toBe(true));
    expect(messages(lines)).toEqual(["redis is away", "redis is back"]);
    connection.close();
  });
});
