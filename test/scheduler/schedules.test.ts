import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { randomFrom } from "./scenario.ts";

const SCHEDULE = `state textToImage { prompt } queuePosition { startsBefore isEstimate } estimatedStartAt estimatedFinishAt
  schedulingTrace { kind message until since before { ofOtherTenants ofOtherMembers ofOwn isEstimate } limit { level kind max } }`;

/** Of everything. */
const SERVICE_MS = 5000;
/** Of a forecast, and a moment. */
const KEPT_MS = 1001;

describe("schedules", () => {
  const clock = new FakeClock();
  const worker = new FakeWorker();
  let app: TestApp;
  let colleague: GraphqlClient;
  let other: GraphqlClient;

  beforeAll(async () => {
    app = await createTestApp({ workers: worker, clock });
    colleague = await app.addMember("MEMBER");
    other = await app.addMember("OWNER", { credits: 1_000_000_000n });
    for (const client of [app.member, colleague, other]) {
      const id = await client.create({ prompt: "first" });
      expect(await serve(1)).toEqual(["first"]);
      await client.finished(id);
    }
    const stored = () => app.db.transaction(asPlatform, (tx) => tx.learnedDuration.count());
    await until(async () => expect(await stored()).toBeGreaterThan(0));
  });
  afterAll(() => app.stop());

  async function serve(count: number): Promise<readonly string[]> {
    const prompts: string[] = [];
    for (let i = 0; i < count; i++) {
      const call = await worker.nextCall();
      call.started();
      clock.advance(SERVICE_MS);
      await call.succeed();
      prompts.push(call.prompt);
    }
    return prompts;
  }

  /** No forecast is kept for so long: what is asked next is told of what is queued now. */
  const forgetForecasts = () => clock.advance(KEPT_MS);

  /** Runs while everything else is queued. */
  const blocker = async () => {
    await app.member.create({ prompt: "blocker" });
    return worker.nextCall();
  };

  const finish = async (call: Awaited<ReturnType<typeof blocker>>): Promise<void> => {
    call.started();
    clock.advance(SERVICE_MS - KEPT_MS); // forecasts were forgotten once since it began
    await call.succeed();
  };

  /** What is queued. */
  async function queuedOf(clients: readonly GraphqlClient[]): Promise<any[]> {
    forgetForecasts();
    const query = `{ generations(first: 50, scope: TENANT) { nodes { ${SCHEDULE} } } }`;
    const found = await Promise.all(clients.map((client) => client.query(query)));
    return found.flatMap(({ generations }) => generations.nodes).filter(({ state }) => state === "QUEUED");
  }

  test("tell the order in which generations start then", async () => {
    const call = await blocker();
    const random = randomFrom(7);
    const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
    for (let i = 0; i < 18; i++) {
      const priority = pick(["INTERACTIVE", "STANDARD", "STANDARD", "BATCH"]);
      await pick([app.member, app.member, colleague, other]).create({ prompt: `${i}` }, { priority });
    }
    const queued = await queuedOf([app.owner, other]);
    const foretold = queued.sort((a, b) => a.queuePosition.startsBefore - b.queuePosition.startsBefore);
    expect(foretold.map(({ queuePosition }) => queuePosition)).toEqual(
      foretold.map((_, startsBefore) => ({ startsBefore, isEstimate: false })),
    );
    const times = foretold.map(({ estimatedStartAt }) => Date.parse(estimatedStartAt));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times[17]! - times[0]!).toBe(17 * SERVICE_MS);
    await finish(call);
    expect(await serve(18)).toEqual(foretold.map(({ textToImage }) => textToImage.prompt));
  });

  test("tell what runs since when, what is next, and what would come after it", async () => {
    const call = await blocker();
    await app.member.create({ prompt: "next" });
    forgetForecasts();
    const query = `query($input: EstimateInput!) {
      estimate(input: $input) { estimatedStartAt estimatedFinishAt }
      generations(first: 2) { nodes { ${SCHEDULE} } }
    }`;
    const input = { task: { textToImage: { prompt: "after it" } } };
    const { estimate, generations } = await app.member.query(query, { input });
    const [next, running] = generations.nodes;
    expect(running).toMatchObject({ queuePosition: null, schedulingTrace: [{ kind: "RUNNING" }] });
    expect(Date.parse(running.estimatedFinishAt) - Date.parse(running.estimatedStartAt)).toBeGreaterThanOrEqual(
      SERVICE_MS,
    );
    expect(next).toMatchObject({
      queuePosition: { startsBefore: 0, isEstimate: false },
      estimatedStartAt: running.estimatedFinishAt,
      schedulingTrace: [{ kind: "WORKERS_BUSY", until: running.estimatedFinishAt }],
    });
    expect(estimate.estimatedStartAt).toBe(next.estimatedFinishAt);
    await finish(call);
    expect(await serve(1)).toEqual(["next"]);
  });

  test("come with the event that a generation is queued", async () => {
    const call = await blocker();
    const id = await app.member.create({ prompt: "queued" });
    forgetForecasts();
    const query = `subscription($id: ID!) { generationEvents(id: $id) { ... on QueuedEvent {
      queuePosition { startsBefore isEstimate } estimatedStartAt } } }`;
    const socket = app.member.socket();
    for await (const { data } of socket.iterate<any>({ query, variables: { id } })) {
      const { queuePosition, estimatedStartAt } = data!.generationEvents;
      expect(queuePosition).toEqual({ startsBefore: 0, isEstimate: false });
      expect(estimatedStartAt).not.toBeNull();
      break;
    }
    await socket.dispose();
    await finish(call);
    expect(await serve(1)).toEqual(["queued"]);
  });

  test("refuse a deadline that cannot be met, and nothing is charged", async () => {
    const call = await blocker();
    await app.member.create({ prompt: "next" });
    forgetForecasts();
    const create = (deadlineMs: number, input = newInput({ prompt: "urgent" })) =>
      app.member.query(
        `mutation($input: CreateGenerationInput!) { createGeneration(input: $input) {
          replayed generation { id } userErrors { code path message ... on DeadlineError { earliestFinishAt expectedFinishAt } } } }`,
        { input: { ...input, deadlineMs } },
      );
    const held = async () =>
      (await app.owner.query("{ viewer { tenant { credits { held } } } }")).viewer.tenant.credits.held;
    const before = await held();
    const { userErrors, generation } = (await create(SERVICE_MS / 2)).createGeneration; // expected when three are done
    const [{ earliestFinishAt, expectedFinishAt, ...error }] = userErrors;
    expect(generation).toBeNull();
    expect(error).toMatchObject({ code: "DEADLINE_UNREACHABLE", path: ["input", "deadlineMs"] });
    expect(Date.parse(earliestFinishAt)).toBeLessThan(Date.parse(expectedFinishAt));
    expect(error.message).toContain(expectedFinishAt);
    expect(await held()).toBe(before);
    const input = newInput({ prompt: "urgent" });
    expect((await create(3600_000, input)).createGeneration).toMatchObject({ replayed: false, userErrors: [] });
    expect((await create(3600_000, input)).createGeneration).toMatchObject({ replayed: true, userErrors: [] });
    await finish(call);
    expect(await serve(2)).toEqual(["next", "urgent"]);
  });

  test("refuse no deadline of what never ran", async () => {
    const id = await app.member.create({ prompt: "picture" });
    expect(await serve(1)).toEqual(["picture"]);
    const { generation } = await app.member.finished(id);
    const imageToText = { image: { imageId: generation.images[0].id }, question: "What is it?" };
    const asked = await app.member.createTask({ imageToText }, { deadlineMs: 1 });
    expect((await app.member.finished(asked)).state).toMatch(/EXPIRED|CANCELED/);
  });
});
