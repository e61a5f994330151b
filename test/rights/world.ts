/** One tenant with members of every role, the kinds of callers that there are, and things of the tenant to act on. */
import { expect } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId, newId, toGlobalId } from "../../src/platform/ids.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { createUpload, finishUpload, send, sha256Of } from "../support/uploads.ts";

/** Who asks. `maker` made what is asked for; all behind it are of the same tenant. */
export const CALLERS = [
  "nobody",
  "revoked",
  "stranger",
  "platform",
  "suspended",
  "narrow",
  "viewer",
  "colleague",
  "maker",
  "operator",
  "admin",
  "owner",
] as const;
export type Caller = (typeof CALLERS)[number];

/** Callers that must never see anything of the tenant. */
export const OUTSIDERS: readonly Caller[] = ["nobody", "revoked", "stranger", "suspended"];

/** In every text and name of the tenant. */
export const MARK = "confidential";

const BATCH_FILE = Buffer.from(JSON.stringify([{ prompt: "item" }]));

/** What there is in a tenant to act on, made anew each time. */
export class Things {
  private count = 0;

  constructor(
    readonly tenantId: string,
    readonly userId: string,
    private readonly maker: GraphqlClient,
    private readonly owner: GraphqlClient,
    private readonly mark: string,
  ) {}

  name(): string {
    return `${this.mark} ${++this.count}`;
  }

  generation(): Promise<string> {
    return this.maker.create({ prompt: this.name() });
  }

  async endedGeneration(): Promise<string> {
    const id = await this.generation();
    await this.maker.query("mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { code } } }", { id });
    return id;
  }

  /** Whose item is queued: then nothing changes of itself. */
  async batch(): Promise<string> {
    const input = { idempotencyKey: this.name(), items: [{ prompt: this.name() }] };
    const { createBatch } = await this.maker.query(
      "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } } }",
      { input },
    );
    const { id } = createBatch.batch;
    await until(async () => {
      const { batch } = await this.maker.query("query($id: ID!) { batch(id: $id) { counts { queued } } }", { id });
      expect(batch.counts.queued).toBe(1);
    });
    return id;
  }

  /** A file that was sent, of which finishUpload makes an upload. */
  async sentFile(): Promise<{ id: string; sha256: string }> {
    const target = await createUpload(this.maker, "BATCH");
    await send(target, BATCH_FILE);
    return { id: target.uploadId, sha256: sha256Of(BATCH_FILE) };
  }

  async finishedFile(): Promise<string> {
    const { id, sha256 } = await this.sentFile();
    expect((await finishUpload(this.maker, id, sha256)).userErrors).toEqual([]);
    return id;
  }

  async key(): Promise<string> {
    const { createApiKey } = await this.maker.query(
      "mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { apiKey { id } } }",
      { input: { name: this.name() } },
    );
    return createApiKey.apiKey.id;
  }

  async member(): Promise<string> {
    const { addMember } = await this.owner.query(
      "mutation($input: AddMemberInput!) { addMember(input: $input) { member { user { id } } userErrors { message } } }",
      { input: { name: this.name(), role: "MEMBER" } },
    );
    return addMember.member.user.id;
  }
}

export class World {
  private constructor(
    readonly app: TestApp,
    /** Of the tenant that all but `suspended` ask for; that one asks for what is its own tenant's. */
    private readonly things: Things,
    private readonly ofSuspended: Things,
    private readonly clients: Readonly<Record<Caller, GraphqlClient>>,
  ) {}

  static async create(): Promise<World> {
    const app = await createTestApp({ workers: new FakeWorker(0) }, { RATE_LIMIT_POINTS: "1000000" });
    const platform = app.owner;
    const [tenant, other, suspended] = [
      await newTenant(app, MARK),
      await newTenant(app, "other"),
      await newTenant(app, "suspended"),
    ];
    const member = (name: string, role: string) => newMember(tenant.owner, { name: `${MARK} ${name}`, role });
    const maker = await member("maker", "MEMBER");
    const clients = {
      nobody: new GraphqlClient(app.credentials.url),
      revoked: await newKey(maker.client, {}),
      stranger: other.owner,
      platform,
      suspended: suspended.owner,
      narrow: await newKey(tenant.owner, { scopes: ["GENERATION_READ"] }),
      viewer: (await member("viewer", "VIEWER")).client,
      colleague: (await member("colleague", "MEMBER")).client,
      maker: maker.client,
      operator: (await member("operator", "OPERATOR")).client,
      admin: (await member("admin", "ADMIN")).client,
      owner: tenant.owner,
    };
    const world = new World(
      app,
      new Things(tenant.id, maker.id, maker.client, tenant.owner, MARK),
      new Things(suspended.id, suspended.ownerId, suspended.owner, suspended.owner, "suspended"),
      clients,
    );
    await world.revoke(maker.client, clients.revoked);
    return world;
  }

  client(caller: Caller): GraphqlClient {
    return this.clients[caller];
  }

  get tenantId(): string {
    return this.things.tenantId;
  }

  /** What a caller asks for. */
  thingsFor(caller: Caller): Things {
    return caller === "suspended" ? this.ofSuspended : this.things;
  }

  /** Suspends the tenant of the caller of that name, or ends its suspension to make more things. */
  async setSuspended(isSuspended: boolean): Promise<void> {
    const field = isSuspended ? "suspendTenant" : "resumeTenant";
    const input = { id: this.ofSuspended.tenantId, reason: "test" };
    await mutate(this.client("platform"), field, "SuspendTenantInput", "tenant { id }", input);
  }

  /** A picture without bytes: nothing is drawn here. */
  pictureOf(generation: string): Promise<string> {
    return this.app.db.transaction(asPlatform, async (tx) => {
      const generationId = fromGlobalId("Generation", generation);
      const { tenantId } = await tx.generation.findUniqueOrThrow({ where: { id: generationId } });
      const facts = { index: 0, width: 1, height: 1, mimeType: "image/png", sizeBytes: 1, sha256: "" };
      const place = { tenantId, generationId, storageKey: `${tenantId}/${generationId}` };
      const { id } = await tx.image.create({ data: { id: newId(), ...place, ...facts } });
      return toGlobalId("Image", id);
    });
  }

  newTenant(): Promise<{ readonly id: string }> {
    return newTenant(this.app, "new");
  }

  private async revoke(maker: GraphqlClient, { apiKey }: GraphqlClient): Promise<void> {
    const { apiKeys } = await maker.query("{ apiKeys(first: 100) { nodes { id prefix } } }");
    const { id } = apiKeys.nodes.find(({ prefix }: { prefix: string }) => apiKey?.startsWith(prefix));
    await mutate(maker, "revokeApiKey", "RevokeApiKeyInput", "apiKey { id }", { id });
  }
}

interface NewTenant {
  readonly id: string;
  readonly ownerId: string;
  readonly owner: GraphqlClient;
}

async function newTenant({ owner: platform, credentials }: TestApp, name: string): Promise<NewTenant> {
  const input = { name, owner: { name: `${name} owner` }, withApiKey: true };
  const made = await mutate(platform, "createTenant", "CreateTenantInput", "tenant { id } owner { id } secret", input);
  const credits = { tenantId: made.tenant.id, credits: "1000", reason: "test" };
  await mutate(platform, "grantCredits", "ChangeCreditsInput", "credits { granted }", credits);
  return { id: made.tenant.id, ownerId: made.owner.id, owner: new GraphqlClient(credentials.url, made.secret) };
}

async function newMember(
  owner: GraphqlClient,
  input: { name: string; role: string },
): Promise<{ id: string; client: GraphqlClient }> {
  const { member } = await mutate(owner, "addMember", "AddMemberInput", "member { user { id } }", input);
  return { id: member.user.id, client: await newKey(owner, { userId: member.user.id }) };
}

async function newKey(maker: GraphqlClient, input: object): Promise<GraphqlClient> {
  const made = { name: `${MARK} key`, ...input };
  const { secret } = await mutate(maker, "createApiKey", "CreateApiKeyInput", "secret", made);
  return new GraphqlClient(maker.url, secret);
}

/** The payload of a mutation that must succeed. */
async function mutate(
  client: GraphqlClient,
  field: string,
  type: string,
  selection: string,
  input: object,
): Promise<any> {
  const text = `mutation($input: ${type}!) { ${field}(input: $input) { ${selection} userErrors { message } } }`;
  const payload = (await client.query(text, { input }))[field];
  expect(payload.userErrors).toEqual([]);
  return payload;
}
