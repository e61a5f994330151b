import { expect, test } from "vitest";
import { FairShare, type StoredTag, type StoredTurns } from "../../src/scheduler/fair-share.ts";
import { forecast } from "../../src/scheduler/forecast.ts";
import type { WaitingQueue } from "../../src/scheduler/queue-name.ts";
import { NOW, poolOf, waiting } from "../support/pool-state.ts";

const queueOf = (tenantId: string, userId = `${tenantId}1`) =>
  ({ tenantId, userId, apiKeyId: null, priority: "STANDARD", preset: "tiny", weight: 1, since: NOW }) as const;
type Queue = ReturnType<typeof queueOf>;

/** Turns with what is stored of them. */
class Led {
  readonly fair = new FairShare(600_000);
  private readonly tags = new Map<string, StoredTag>();
  private floors: readonly number[] = [];

  /** So many turns of a hundred milliseconds. */
  serve(count: number): readonly WaitingQueue[] {
    const served = Array.from({ length: count }, () => {
      const next = this.fair.next(NOW)!;
      this.fair.start({ ...next, weight: 1 }, 100);
      return next;
    });
    const { floors, tags } = this.fair.takeCharged();
    this.floors = floors;
    for (const tag of tags) this.tags.set(`${tag.tenantId} ${tag.userId}`, tag);
    return served;
  }

  get stored(): StoredTurns {
    return { floors: this.floors, tags: [...this.tags.values()] };
  }
}

/** Of two, one has had one turn, and idled while the other had twenty. */
function oneIdled(idle: Queue, busy: Queue): Led {
  const led = new Led();
  led.fair.addAll([idle, busy]);
  led.serve(2);
  led.fair.remove(idle);
  led.serve(20);
  return led;
}

test.each([
  ["a tenant", queueOf("a"), queueOf("b")],
  ["a member", queueOf("a", "a1"), queueOf("a", "a2")],
])(
  "%s that idled, and queues just when another process takes the turns up, gets no more than it does without",
  (_, idle, busy) => {
    const led = oneIdled(idle, busy);
    const next = new Led();
    next.fair.restore(led.stored, [idle, busy]);
    led.fair.add(idle);
    const served = next.serve(10).map(({ userId }) => userId);
    expect(served).toEqual(led.serve(10).map(({ userId }) => userId));
    expect(served.filter((userId) => userId === idle.userId)).toHaveLength(5);
  },
);

test("a forecast knows that idling saves nothing up", () => {
  const turns = oneIdled(queueOf("a"), queueOf("b")).stored;
  const items = Array.from({ length: 5 }, () => [waiting(), waiting({ tenantId: "b" })]).flat();
  const { starts } = forecast(poolOf(items, { turns }));
  expect(starts.map((start) => start.waiting.tenantId)).toEqual(Array.from({ length: 5 }, () => ["a", "b"]).flat());
});

test("who came while others were charged too much does not wait until they have caught up with that", () => {
  const { fair } = new Led();
  const [flood, light] = [queueOf("flood"), queueOf("light")];
  fair.add(flood);
  for (let i = 0; i < 4; i++) fair.start(flood, 100_000);
  fair.add(light);
  for (let i = 0; i < 4; i++) fair.charge(flood, 100 - 100_000);
  const served = Array.from({ length: 4 }, () => {
    const next = fair.next(NOW)!;
    fair.start({ ...next, weight: 1 }, 100);
    return next.tenantId;
  });
  expect(served.slice(0, 2)).toContain("light");
});

test("what is put right of a tenant's earlier work gives it no turns that it would not have had", () => {
  const led = new Led();
  const [back, stayed] = [queueOf("back"), queueOf("stayed")];
  led.fair.addAll([back, stayed]);
  led.fair.start(back, 100_000);
  led.fair.remove(back);
  led.serve(2000);
  led.fair.add(back);
  led.fair.charge(back, 100 - 100_000); // it was canceled at once
  expect(led.serve(10).filter(({ tenantId }) => tenantId === "back")).toHaveLength(5);
});

test("who comes back and starts in the turn of another has paid for that", () => {
  const led = oneIdled(queueOf("a"), queueOf("b"));
  const company = queueOf("a");
  led.fair.add(company);
  led.fair.start(queueOf("b"), 100);
  led.fair.accompany(company);
  led.fair.remove(company);
  led.fair.charge(company, 1000);
  led.fair.add(company);
  expect(led.serve(9).filter(({ tenantId }) => tenantId === "a")).toHaveLength(0);
});
