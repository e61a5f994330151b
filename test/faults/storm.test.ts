/**
 * A whole installation under load while its processes are killed, frozen and restarted at random.
 *
 *     SLOW_TESTS=1 STORM_SEED=7 STORM_KILLS=200 STORM_MINUTES=25 npx vitest run test/faults/storm.test.ts
 *
 * The same seed plans the same faults and asks for the same things; how they meet is up to the machine.
 * STORM_ONLY="link|worker" lets only faults of these kinds happen, and counts all of them.
 */
import { randomInt } from "node:crypto";
import { join } from "node:path";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { hasPostgres } from "../support/postgres-server.ts";
import { hasRedis } from "../support/redis-server.ts";
import { slowTest } from "../support/slow-test.ts";
import { planStorm, Storm } from "./storm/faults.ts";
import { figuresOf } from "./storm/figures.ts";
import { Load } from "./storm/load.ts";
import { judge } from "./storm/verdict.ts";
import { startWorld } from "./storm/world.ts";

const SEED = Number(process.env["STORM_SEED"] ?? randomInt(1_000_000));
const KILLS = Number(process.env["STORM_KILLS"] ?? 200);
const MINUTES = Number(process.env["STORM_MINUTES"] ?? KILLS / 8);
const ONLY = process.env["STORM_ONLY"];
/** For what was asked for to end after the last fault. */
const CALM_MS = 300_000;

describe("a storm of faults", () => {
  if (!hasPostgres || !hasRedis) {
    test.skip("PostgreSQL or Redis is not on this machine", () => {});
    return;
  }

  slowTest(
    `of ${KILLS} kills loses nothing, doubles nothing, and every client sees every milestone in order`,
    async () => {
      const world = await startWorld(join(inject("templateData"), "models/tiny"));
      onTestFinished(() => world.stop());
      const load = new Load(world, SEED);
      await load.prepare();
      const asking = load.run();
      const storm = new Storm(world, ({ kind, target, at }) => {
        const api = world.apis.findIndex(({ name }) => name === target);
        if (kind === "kill api") load.noteApiKilled(api, at);
      });
      const only = ONLY === undefined ? undefined : new RegExp(ONLY);
      await storm.run(planStorm({ seed: SEED, kills: KILLS, minutes: MINUTES, only }));
      await load.end(CALM_MS);
      await asking;
      const verdict = await judge(world, load, storm.faults);
      say([`storm ${SEED}`, ...figuresOf(world, load, storm.faults, verdict)]);
      if (verdict.complaints.length > 0) say([`logs: ${world.keepLogs()}`, ...verdict.complaints]);
      expect(verdict.complaints.length, `complaints about the storm with STORM_SEED=${SEED}`).toBe(0);
    },
    MINUTES * 60_000 + 900_000,
  );
});

const say = (lines: readonly string[]): void => void process.stderr.write(`${lines.join("\n  ")}\n`);
