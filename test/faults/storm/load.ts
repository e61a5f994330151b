/** Tenants that ask for pictures, edits and answers without a pause, watch all of them, and repeat what was not answered. */
import { setTimeout as pause } from "node:timers/promises";
import { randomFrom } from "../../scheduler/scenario.ts";
import { CREATE_BATCH, newBatch } from "../../support/batches.ts";
import { CANCEL, CREATE, GraphqlClient, newTask } from "../../support/graphql-client.ts";
import { choose } from "./choosing.ts";
import { DRAWINGS, RECIPES, type Recipe, SOURCE } from "./recipes.ts";
import { Watcher } from "./watcher.ts";
import type { World } from "./world.ts";

const TENANTS = 3;
const PATIENCE_MS = 5000;
const PAUSE_MS = 100;
const MEAN_MS = 900;
/** Asked for and not finished, of all tenants: what runs on few processors must not pile up. */
const MAX_OPEN = 18;
const BATCH_ITEMS = 5;
const PRIORITIES = ["INTERACTIVE", "STANDARD", "BATCH"];
const SHARES = { batch: 0.02, cut: 0.2, cancel: 0.06, deadline: 0.06, twin: 0.15, repeat: 0.15 };
const MAX_CUT_MS = 4000;
const [MIN_DEADLINE_MS, MAX_DEADLINE_MS] = [1000, 20_000];

const CREATE_TENANT = `mutation($input: CreateTenantInput!) {
  createTenant(input: $input) { secret tenant { id } userErrors { message } }
}`;
const GRANT = "mutation($input: ChangeCreditsInput!) { grantCredits(input: $input) { userErrors { message } } }";
const SET_LIMIT = "mutation($input: SetLimitInput!) { setLimit(input: $input) { userErrors { message } } }";

interface Tenant {
  readonly apiKey: string;
  /** Its picture of the first recipe. */
  readonly imageId: string;
}

export interface Asked {
  readonly id: string;
  readonly tenant: Tenant;
  readonly recipe: Recipe;
  readonly watcher: Watcher;
  /** By its client; or it has a deadline. */
  readonly mayEndEarly: boolean;
  isOver: boolean;
}

export interface AskedBatch {
  readonly id: string;
  readonly tenant: Tenant;
  /** Of each item. */
  readonly recipes: readonly Recipe[];
}

export class Load {
  readonly asked: Asked[] = [];
  readonly batches: AskedBatch[] = [];
  readonly complaints: string[] = [];
  /** What recipes give when nothing happens: of pictures the SHA-256, or the answer. */
  readonly undisturbed = new Map<Recipe, readonly string[]>();
  /** Calls that were repeated because they were not answered. */
  retries = 0;
  private tenants: readonly Tenant[] = [];
  private readonly open = new Set<Promise<void>>();
  private isOver = false;

  constructor(
    private readonly world: World,
    private readonly seed: number,
  ) {}

  /** Makes tenants and draws every recipe once, while nothing happens. */
  async prepare(): Promise<void> {
    for (let index = 0; index < TENANTS; index++) {
      const apiKey = await this.newTenant(`tenant ${index}`);
      const client = new GraphqlClient(this.world.urls[0] ?? "", apiKey);
      const source = await client.finished(await client.createTask(SOURCE.task("")));
      this.tenants = [...this.tenants, { apiKey, imageId: source.generation.images[0].id }];
    }
    const [{ apiKey, imageId }] = this.tenants as [Tenant];
    const client = new GraphqlClient(this.world.urls[0] ?? "", apiKey);
    for (const recipe of RECIPES) {
      const id = await client.createTask(recipe.task(imageId));
      await client.finished(id);
      const { answer, images } = await client.generation(id);
      this.undisturbed.set(recipe, answer === null ? images.map(({ sha256 }: any) => sha256) : [answer]);
    }
  }

  /** How many generations `prepare` asked for. */
  get prepared(): number {
    return TENANTS + RECIPES.length;
  }

  /** Asks until it is told to end. */
  async run(): Promise<void> {
    const random = randomFrom(this.seed);
    while (!this.isOver) {
      await pause(MEAN_MS * 2 * random());
      if (this.isOver) return; // nobody waits for what is asked for from now on
      if (this.open.size >= MAX_OPEN) continue;
      const own = randomFrom(Math.floor(random() * 2 ** 31));
      const asking = random() < SHARES.batch ? this.askForBatch(own) : this.ask(own);
      const one = asking.catch((error: Error) => void this.complaints.push(String(error.stack)));
      this.open.add(one);
      void one.finally(() => this.open.delete(one));
    }
  }

  /** Asks for nothing more; resolves when everything has ended, or when that takes too long. */
  async end(patienceMs: number): Promise<void> {
    this.isOver = true;
    const over = new AbortController();
    await Promise.race([Promise.all(this.open), pause(patienceMs, undefined, { signal: over.signal })]);
    over.abort();
  }

  /** The watchers that are connected to it count from now on. */
  noteApiKilled(api: number, at: number): void {
    for (const { watcher, isOver } of this.asked) if (!isOver) watcher.noteKilled(api, at);
  }

  private async newTenant(name: string): Promise<string> {
    const administrator = new GraphqlClient(this.world.urls[0] ?? "", this.world.adminKey);
    const input = { name, owner: { name }, withApiKey: true };
    const { createTenant } = await administrator.query(CREATE_TENANT, { input });
    const shared = { tenantId: createTenant.tenant.id, reason: "storm" };
    await administrator.query(GRANT, { input: { ...shared, credits: "1000000" } });
    for (const [kind, max] of [
      ["RUNNING", "4"],
      ["QUEUED", "1000"],
    ])
      await administrator.query(SET_LIMIT, { input: { ...shared, level: "TENANT", kind, max } });
    return createTenant.secret;
  }

  private async ask(random: () => number): Promise<void> {
    const tenant = this.tenants[Math.floor(random() * TENANTS)]!;
    const recipe = choose(RECIPES, random());
    const priority = PRIORITIES[Math.floor(random() * PRIORITIES.length)];
    const [hasDeadline, howLong] = [random() < SHARES.deadline, random()];
    const deadlineMs = Math.round(MIN_DEADLINE_MS + howLong * (MAX_DEADLINE_MS - MIN_DEADLINE_MS));
    const input = { ...newTask(recipe.task(tenant.imageId)), priority, ...(hasDeadline ? { deadlineMs } : {}) };
    const create = async (): Promise<string | undefined> =>
      (await this.insist(tenant, CREATE, { input }, random)).createGeneration.generation?.id;
    const [isTwin, isRepeated, isCancelled] = [
      random() < SHARES.twin,
      random() < SHARES.repeat,
      random() < SHARES.cancel,
    ];
    // A refusal is not stored, so that one of two calls may be refused.
    const [id, twin = id] = await Promise.all(isTwin && !hasDeadline ? [create(), create()] : [create()]);
    if (id === undefined) return;
    const watcher = this.watcherOf(id, tenant, random);
    const asked: Asked = { id, tenant, recipe, watcher, mayEndEarly: isCancelled || hasDeadline, isOver: false };
    this.asked.push(asked);
    const cancelling = isCancelled ? this.cancel(asked, random) : undefined;
    await watcher.run();
    await cancelling;
    asked.isOver = true;
    const again = isRepeated ? await create() : id;
    if (twin !== id || again !== id) this.complaints.push(`one key made ${id}, ${twin} and ${again}`);
  }

  private watcherOf(id: string, { apiKey }: Tenant, random: () => number): Watcher {
    const { urls } = this.world;
    const lifeOfSocket = () => (random() < SHARES.cut ? MAX_CUT_MS * random() : undefined);
    return new Watcher({ id, urls, apiKey, firstApi: Math.floor(random() * urls.length), lifeOfSocket });
  }

  private async cancel({ id, tenant }: Asked, random: () => number): Promise<void> {
    await pause(3000 * random());
    await this.insist(tenant, CANCEL, { id }, random);
  }

  private async askForBatch(random: () => number): Promise<void> {
    const tenant = this.tenants[Math.floor(random() * TENANTS)]!;
    const recipes = Array.from({ length: BATCH_ITEMS }, () => DRAWINGS[Math.floor(random() * DRAWINGS.length)]!);
    const items = recipes.map((recipe) => (recipe.task("") as { textToImage: object }).textToImage);
    const { createBatch } = await this.insist(tenant, CREATE_BATCH, { input: newBatch(items) }, random);
    const { id } = createBatch.batch;
    this.batches.push({ id, tenant, recipes });
    const read = "query($id: ID!) { batch(id: $id) { finishedAt } }";
    while ((await this.insist(tenant, read, { id }, random)).batch.finishedAt === null) await pause(1000);
  }

  /** Asks the one API or the other until it is answered. */
  private async insist(tenant: Tenant, query: string, variables: object, random: () => number): Promise<any> {
    const { urls } = this.world;
    for (let api = Math.floor(random() * urls.length); ; api = (api + 1) % urls.length) {
      const answer = await new GraphqlClient(urls[api] ?? "", tenant.apiKey)
        .send(query, variables, AbortSignal.timeout(PATIENCE_MS))
        .catch(() => undefined);
      if (answer !== undefined && isFinal(answer)) return answer.data;
      this.retries++;
      await pause(PAUSE_MS);
    }
  }
}

/** Answers like any other. */
const EXPECTED = ["NOT_CANCELLABLE", "DEADLINE_UNREACHABLE"];

/** Whether it is not worth asking again. Throws where it was refused for good. */
function isFinal({ data, errors = [] }: { data: any; errors?: readonly any[] }): boolean {
  const refusal = errors.find(({ extensions }) => extensions?.code !== "INTERNAL");
  if (refusal !== undefined) throw new Error(`refused: ${JSON.stringify(refusal)}`);
  if (errors.length > 0) return false;
  const payload = Object.values<any>(data)[0];
  const problem = payload?.userErrors?.find(({ code }: any) => !EXPECTED.includes(code));
  if (problem === undefined) return true;
  if (problem.retryable) return false;
  throw new Error(`refused: ${JSON.stringify(problem)}`);
}
