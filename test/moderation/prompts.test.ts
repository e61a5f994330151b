import { isInputObjectType } from "graphql";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { makeSchema } from "../../src/api/schema.ts";
import { Moderation } from "../../src/moderation/moderation.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { newId } from "../../src/platform/ids.ts";
import { createBatch, finishedBatch, readBatch, readItems, readResults } from "../support/batches.ts";
import { readVerdicts, SET_POLICY, setChecks, words } from "../support/checks.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, type GraphqlClient, newInput, newTask } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const CREATE_CHECKED = CREATE.replace(
  "... on QuotaError",
  "... on ModerationError { check category } ... on QuotaError",
);

describe("checks of prompts", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let picture: string;

  beforeAll(async () => {
    worker = new FakeWorker(4);
    app = await createTestApp({ workers: worker });
    const id = await app.member.create({ prompt: "a pond" });
    await (await worker.nextCall()).started().succeed();
    picture = (await app.member.finished(id)).generation.images[0].id;
  });
  afterEach(async () => {
    await setChecks(app.owner, []);
    await setChecks(app.owner, [], { level: "ASSIGNED" });
    await setChecks(app.owner, [], { level: "PLATFORM" });
    await expectBalancedLedger(app.db);
  });
  afterAll(() => app.stop());

  const create = async (client: GraphqlClient, input: object) =>
    (await client.query(CREATE_CHECKED, { input })).createGeneration;
  const rows = () =>
    app.db.transaction(asPlatform, async (tx) => [
      await tx.generation.count(),
      await tx.reservation.count(),
      await tx.ledgerEntry.count(),
      await tx.idempotencyRecord.count(),
    ]);
  const draw = async (id: string) => {
    await (await worker.nextCall()).started().succeed();
    return app.member.finished(id);
  };

  test("refuse what has a listed word: nothing is created, reserved or charged, and the refusal says who and why", async () => {
    await setChecks(app.owner, [{ ...words("birds", "blue heron"), category: "wildlife" }]);
    const before = await rows();
    const { generation, userErrors } = await create(app.member, newInput({ prompt: "A ＢＬＵＥ hérön" }));
    expect(generation).toBeNull();
    expect(userErrors).toEqual([
      {
        __typename: "ModerationError",
        code: "CONTENT_BLOCKED",
        message: expect.stringMatching(/^The check "birds" refuses this text \(wildlife\)/),
        path: ["input", "task", "textToImage", "prompt"],
        retryable: false,
        check: "birds",
        category: "wildlife",
      },
    ]);
    expect(JSON.stringify(userErrors)).not.toMatch(/heron/i);
    expect(await rows()).toEqual(before);
    const verdict = { stage: "PROMPT", level: "TENANT", check: "birds", decision: "BLOCKED", category: "wildlife" };
    expect((await readVerdicts(app.owner))[0]).toMatchObject({ ...verdict, generationId: null });
  });

  test("let other prompts pass, and their verdicts stand with the generation, for whoever may read it", async () => {
    await setChecks(app.owner, [
      words("birds", "heron"),
      { ...words("plants", "reed"), mode: "REPORT", category: "flora" },
    ]);
    const id = await app.member.create({ prompt: "a reed at the pond" });
    const expected = [
      { stage: "PROMPT", check: "birds", decision: "ALLOWED", category: null, generationId: id },
      { stage: "PROMPT", check: "plants", decision: "REPORTED", category: "flora", generationId: id },
    ];
    expect(await readVerdicts(app.member, id)).toMatchObject(expected);
    expect((await draw(id)).state).toBe("SUCCEEDED");
    const refused = await app.member.send("{ moderationVerdicts(first: 1) { nodes { check } } }");
    expect(refused.errors?.[0]?.extensions["code"]).toBe("FORBIDDEN");
  });

  test("read every text that somebody can write in a task", async () => {
    await setChecks(app.owner, [words("birds", "heron")]);
    const image = { imageId: picture };
    const harmless = {
      textToImage: { prompt: "a pond" },
      imageEdit: { image, instruction: "more reed" },
      imageVariation: { image, prompt: "a pond" },
      imageToText: { image, question: "What is it?" },
    };
    const tasks = (await makeSchema([])).getType("TaskInput");
    if (!isInputObjectType(tasks)) throw new Error("TaskInput is an input");
    const asked: string[] = [];
    for (const [task, { type }] of Object.entries(tasks.getFields())) {
      if (!isInputObjectType(type)) throw new Error(`${task} is an input`);
      const texts = Object.values(type.getFields()).filter((field) => /^String!?$/.test(String(field.type)));
      for (const { name } of texts) {
        const wish = { ...harmless[task as keyof typeof harmless], [name]: "a heron" };
        const { userErrors } = await create(app.member, newTask({ [task]: wish }));
        expect(userErrors, `${task}.${name}`).toMatchObject([
          { code: "CONTENT_BLOCKED", path: ["input", "task", task, name] },
        ]);
        asked.push(`${task}.${name}`);
      }
    }
    expect(asked).toHaveLength(7);
  });

  test("do not ask again about a repeated call, and never about what is refused anyway", async () => {
    const input = newInput({ prompt: "a heron" });
    const { generation } = await create(app.member, input);
    await setChecks(app.owner, [words("birds", "heron")]);
    expect(await create(app.member, input)).toMatchObject({ replayed: true, generation: { id: generation.id } });
    const before = (await readVerdicts(app.owner)).length;
    const { userErrors } = await create(app.member, newInput({ prompt: "a heron", steps: 10_000 }));
    expect(userErrors).toMatchObject([{ code: "INVALID_INPUT" }]);
    expect(await readVerdicts(app.owner)).toHaveLength(before);
    await draw(generation.id);
  });

  test("of the platform come first, hold for all of the tenant, and are not the tenant's to see or remove", async () => {
    const admin = await app.addMember("ADMIN", { credits: 10_000_000n });
    await setChecks(app.owner, [words("everywhere", "heron")], { level: "PLATFORM" });
    const { viewer } = await admin.query("{ viewer { tenant { id } } }");
    await setChecks(app.owner, [words("for them", "crane")], { level: "ASSIGNED", tenantId: viewer.tenant.id });
    await setChecks(admin, [words("their own", "heron", "crane", "stork")]);
    const checkOf = async (client: GraphqlClient, prompt: string) =>
      (await create(client, newInput({ prompt }))).userErrors[0]?.check;
    expect(await checkOf(admin, "a heron")).toBe("everywhere");
    expect(await checkOf(admin, "a crane")).toBe("for them");
    expect(await checkOf(admin, "a stork")).toBe("their own");
    expect(await checkOf(app.member, "a heron")).toBe("everywhere");
    const list = "{ moderationPolicies { level checks { name wordCount words } } }";
    expect((await admin.query(list)).moderationPolicies).toEqual([
      { level: "PLATFORM", checks: [{ name: "everywhere", wordCount: 1, words: null }] },
      { level: "ASSIGNED", checks: [{ name: "for them", wordCount: 1, words: null }] },
      { level: "TENANT", checks: [{ name: "their own", wordCount: 3, words: ["heron", "crane", "stork"] }] },
    ]);
    for (const level of ["PLATFORM", "ASSIGNED"]) {
      const { setModerationPolicy: set } = await admin.query(SET_POLICY, {
        input: { level, checks: [], reason: "away" },
      });
      expect(set.userErrors, level).toMatchObject([{ code: "FORBIDDEN" }]);
    }
    await setChecks(app.owner, [], { level: "ASSIGNED", tenantId: viewer.tenant.id });
  });

  test("are set by administrators, with a reason, for the list that they saw, and the audit log has it", async () => {
    const set = async (client: GraphqlClient, input: object) =>
      (await client.query(SET_POLICY, { input: { checks: [], reason: "because", ...input } })).setModerationPolicy;
    expect((await set(await app.addMember("OPERATOR"), {})).userErrors).toMatchObject([{ code: "FORBIDDEN" }]);
    const { etag } = await setChecks(app.owner, [words("birds", "heron")]);
    const second = await set(app.owner, { checks: [words("birds", "stork")], ifMatch: etag });
    expect(second.userErrors).toEqual([]);
    expect((await set(app.owner, { ifMatch: etag })).userErrors).toMatchObject([
      { __typename: "VersionError", currentEtag: second.policy.etag },
    ]);
    const log = "{ auditLog(first: 100) { nodes { action reason before after } } }";
    const { nodes } = (await app.owner.query(log)).auditLog;
    const entry = nodes.filter(({ action }: any) => action === "moderation:set").at(-1);
    expect(entry.reason).toBe("because");
    expect(JSON.stringify(entry.after)).toContain("birds");
    expect(JSON.stringify(entry)).not.toMatch(/heron|stork/);
  });

  test("count in other processes two seconds after they were set", async () => {
    const clock = new FakeClock();
    const elsewhere = new Moderation({ db: app.db, clock, checker: undefined });
    const { id: tenantId } = await app.db.transaction(asPlatform, (tx) =>
      tx.tenant.findFirstOrThrow({ orderBy: { id: "asc" } }),
    );
    expect(await elsewhere.applies(tenantId, "PROMPT")).toBe(false);
    await setChecks(app.owner, [words("birds", "heron")]);
    expect(await elsewhere.applies(tenantId, "PROMPT")).toBe(false);
    clock.advance(2000);
    expect(await elsewhere.applies(tenantId, "PROMPT")).toBe(true);
  });

  test("are read once, however many ask at the same time", async () => {
    const elsewhere = new Moderation({ db: app.db, clock: new FakeClock(), checker: undefined });
    const { id: tenantId } = await app.db.transaction(asPlatform, (tx) =>
      tx.tenant.findFirstOrThrow({ orderBy: { id: "asc" } }),
    );
    await setChecks(app.owner, [words("birds", "heron")]);
    await elsewhere.applies(newId(), "PROMPT");
    const transaction = vi.spyOn(app.db, "transaction");
    const asked = await Promise.all(Array.from({ length: 20 }, () => elsewhere.applies(tenantId, "PROMPT")));
    const lists = transaction.mock.calls.filter(([{ role }]) => role === "atelier_api").length;
    transaction.mockRestore();
    expect([new Set(asked), lists <= 3]).toEqual([new Set([true]), true]);
    for (let i = 0; i < 2; i++) expect(await elsewhere.applies(tenantId, "PROMPT")).toBe(true);
  });

  test.each<[string, readonly object[], RegExp]>([
    ["two checks of one name", [words("a", "x"), words("a", "y")], /Two checks are called "a"/],
    ["no words", [words("a")], /1 to 10000 words/],
    ["an entry without letters", [words("a", "...")], /no letters or digits/],
    ["an entry that is too long", [words("a", "x".repeat(201))], /1 to 200 characters/],
    ["a check without a name", [words(" ", "x")], /1 to 64 characters/],
    ["a service that there is none of", [{ name: "guard", kind: "HTTP" }], /MODERATION_URL/],
    ["words for a service", [{ ...words("guard", "x"), kind: "HTTP" }], /one of the kind HTTP has stages/],
    ["no stage", [{ name: "guard", kind: "HTTP", stages: [] }], /at least one stage: PROMPT, IMAGE/],
    [
      "too many words",
      ["a", "b"].map((name) => words(name, ...Array.from({ length: 5001 }, (_, i) => `word${i}`))),
      /up to 10000 words together, not 10002/,
    ],
    ["too many checks", Array.from({ length: 21 }, (_, i) => words(`${i}`, "x")), /up to 20 checks/],
  ])("cannot be set with %s", async (_, checks, message) => {
    const { setModerationPolicy: set } = await app.owner.query(SET_POLICY, { input: { checks, reason: "r" } });
    expect(set.userErrors).toMatchObject([{ code: "INVALID_INPUT", message: expect.stringMatching(message) }]);
  });

  test("refuse single items of a batch: they fail for free, and the others go on", async () => {
    await setChecks(app.owner, [words("birds", "heron")]);
    const prompts = ["a heron", "a pond", "herons", "two HERON", "a reed"];
    const id = await createBatch(app.member, prompts);
    expect((await readBatch(app.member, id)).credits.reserved).toBe("0.82944");
    for (let i = 0; i < 3; i++) await (await worker.nextCall()).started().succeed();
    expect(await finishedBatch(app.member, id)).toMatchObject({
      status: "FINISHED",
      counts: { waiting: 0, queued: 0, running: 0, succeeded: 3, failed: 2, canceled: 0 },
      credits: { charged: "0.497664", held: "0" },
    });
    const { nodes } = await readItems(app.member, id);
    const error = { code: "CONTENT_BLOCKED", message: expect.stringMatching(/^The check "birds"/) };
    expect(nodes.map((node: any) => node.error)).toEqual([error, null, null, error, null]);
    const refused = nodes[0].generation.id;
    expect(await app.member.finished(refused)).toMatchObject({ seq: 1, state: "FAILED", failure: error });
    expect(await app.member.generation(refused)).toMatchObject({ creditsCharged: "0", attempts: [], images: [] });
    expect(await readVerdicts(app.member, refused)).toMatchObject([{ check: "birds", decision: "BLOCKED" }]);
    expect((await readResults(app.member, id))[3]).toMatchObject({
      status: "FAILED",
      error: { code: "CONTENT_BLOCKED" },
    });
  });

  test("end a batch of which they refuse everything, and read the words that all its items have", async () => {
    await setChecks(app.owner, [words("birds", "heron")]);
    const items = Array.from({ length: 200 }, (_, i) => `picture ${i}`);
    const id = await createBatch(app.member, items, { defaults: { unconditionalPrompt: "no heron" } });
    expect(await finishedBatch(app.member, id)).toMatchObject({ counts: { failed: 200 }, credits: { charged: "0" } });
  });

  test("say nothing about what the preset itself leads away from", async () => {
    await setChecks(app.owner, [words("verbs", "generate")]);
    const id = await createBatch(app.member, ["a pond"]);
    await (await worker.nextCall()).started().succeed();
    expect(await finishedBatch(app.member, id)).toMatchObject({ counts: { succeeded: 1 } });
  });
});
