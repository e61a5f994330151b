/** Tenants that ask for pictures, edits and answers without a pause, watch all of them, and repeat what was not answered. */
import { setTimeout as pause } from "node:timers/promises";
import { randomFrom } from "../../scheduler/scenario.ts";
import { CREATE_BATCH, newBatch } from "../../support/batches.ts";
import { CANCEL, CREATE, GraphqlClient, newTask } from "../../support/graphql-client.ts";
import { Asking } from "./asking.ts";
import { choose } from "./choosing.ts";
import { DRAWINGS, type PictureSource, RECIPES, type Recipe, SOURCE } from "./recipes.ts";
import { keptOf, uploadInStorm } from "./uploads.ts";
import { Watcher } from "./watcher.ts";
import type { World } from "./world.ts";

const TENANTS = 3;
const MEAN_MS = 900;
/** Asked for and not finished, of all tenants: what runs on few processors must not pile up. */
const MAX_OPEN = 18;
const BATCH_ITEMS = 5;
const PRIORITIES = ["INTERACTIVE", "STANDARD", "BATCH"];
const SHARES = { batch: 0.02, cut: 0.2, cancel: 0.06, deadline: 0.06, twin: 0.15, repeat: 0.15 };
const MAX_CUT_MS = 4000;
const [MIN_DEADLINE_MS, MAX_DEADLINE_MS] = [1000, 20_000];

const NOTHING = { imageId: "" };

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
  /** That it starts from. */
  readonly uploadId: string | undefined;
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
  /** The SHA-256 of what is kept of every upload. */
  undisturbedUpload: string | undefined;
  readonly asking: Asking;
  private source = new Uint8Array();
  private tenants: readonly Tenant[] = [];
  private readonly open = new Set<Promise<void>>();
  private isOver = false;

  constructor(
    private readonly world: World,
    private readonly seed: number,
  ) {
    this.asking = new Asking(world.urls);
  }

  /** Makes tenants and draws every recipe once, while nothing happens. */
  async prepare(): Promise<void> {
    for (let index = 0; index < TENANTS; index++) {
      const apiKey = await this.newTenant(`tenant ${index}`);
      const client = new GraphqlClient(this.world.urls[0] ?? "", apiKey);
      const id = await client.createTask(SOURCE.task(NOTHING));
      const [{ id: imageId, url }] = (await client.finished(id)).generation.images;
      const { pathname, search } = new URL(url);
      this.source = new Uint8Array(await (await fetch(new URL(pathname + search, client.url))).arrayBuffer());
      this.tenants = [...this.tenants, { apiKey, imageId }];
    }
    const [tenant] = this.tenants as [Tenant];
    const client = new GraphqlClient(this.world.urls[0] ?? "", tenant.apiKey);
    const random = randomFrom(this.seed);
    for (const recipe of RECIPES) {
      const image = await this.pictureFor(recipe, tenant, random);
      const id = await client.createTask(recipe.task(image));
      await client.finished(id);
      const { answer, images } = await client.generation(id);
      this.undisturbed.set(recipe, answer === null ? images.map(({ sha256 }: any) => sha256) : [answer]);
      if ("uploadId" in image) this.undisturbedUpload = await keptOf(client.url, tenant.apiKey, image.uploadId);
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
    if (this.open.size > 0) this.complaints.push(`${this.open.size} clients still wait for an answer, or for an end`);
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
    const image = await this.pictureFor(recipe, tenant, random);
    const input = { ...newTask(recipe.task(image)), priority, ...(hasDeadline ? { deadlineMs } : {}) };
    const create = async (): Promise<string | undefined> =>
      (await this.asking.insist(tenant.apiKey, CREATE, { input }, random)).createGeneration.generation?.id;
    const [isTwin, isRepeated, isCancelled] = [
      random() < SHARES.twin,
      random() < SHARES.repeat,
      random() < SHARES.cancel,
    ];
    // A refusal is not stored, so that one of two calls may be refused.
    const [id, twin = id] = await Promise.all(isTwin && !hasDeadline ? [create(), create()] : [create()]);
    if (id === undefined) return;
    const watcher = this.watcherOf(id, tenant, random);
    const uploadId = "uploadId" in image ? image.uploadId : undefined;
    const mayEndEarly = isCancelled || hasDeadline;
    const asked: Asked = { id, tenant, recipe, uploadId, watcher, mayEndEarly, isOver: false };
    this.asked.push(asked);
    const cancelling = isCancelled ? this.cancel(asked, random) : undefined;
    await watcher.run();
    await cancelling;
    asked.isOver = true;
    const again = isRepeated ? await create() : id;
    if (twin !== id || again !== id) this.complaints.push(`one key made ${id}, ${twin} and ${again}`);
  }

  private async pictureFor(
    { source }: Recipe,
    { apiKey, imageId }: Tenant,
    random: () => number,
  ): Promise<PictureSource> {
    if (source !== "upload") return { imageId };
    return { uploadId: await uploadInStorm(this.asking, { apiKey, bytes: this.source }, random) };
  }

  private watcherOf(id: string, { apiKey }: Tenant, random: () => number): Watcher {
    const { urls } = this.world;
    const lifeOfSocket = () => (random() < SHARES.cut ? MAX_CUT_MS * random() : undefined);
    return new Watcher({ id, urls, apiKey, firstApi: Math.floor(random() * urls.length), lifeOfSocket });
  }

  private async cancel({ id, tenant }: Asked, random: () => number): Promise<void> {
    await pause(3000 * random());
    await this.asking.insist(tenant.apiKey, CANCEL, { id }, random);
  }

  private async askForBatch(random: () => number): Promise<void> {
    const tenant = this.tenants[Math.floor(random() * TENANTS)]!;
    const recipes = Array.from({ length: BATCH_ITEMS }, () => DRAWINGS[Math.floor(random() * DRAWINGS.length)]!);
    const items = recipes.map((recipe) => (recipe.task(NOTHING) as { textToImage: object }).textToImage);
    const { createBatch } = await this.asking.insist(tenant.apiKey, CREATE_BATCH, { input: newBatch(items) }, random);
    const { id } = createBatch.batch;
    this.batches.push({ id, tenant, recipes });
    const read = "query($id: ID!) { batch(id: $id) { finishedAt } }";
    while ((await this.asking.insist(tenant.apiKey, read, { id }, random)).batch.finishedAt === null) await pause(1000);
  }
}
