/** For every field of the schema, how it is asked for something of a tenant; several ways where rights differ. */
import type { Things, World } from "./world.ts";

export interface Call {
  readonly query: string;
  readonly variables?: object;
}

/** What is asked for is made anew, so that every caller meets it as it was. */
type CallOf = (things: Things, world: World) => Promise<Call> | Call;

const query =
  (query: string, variables: (things: Things) => object = () => ({})): CallOf =>
  (things) => ({ query, variables: variables(things) });

/** A mutation with one argument `input`. */
const change =
  (field: string, type: string, input: (...args: Parameters<CallOf>) => object | Promise<object>): CallOf =>
  async (...args) => ({
    query: `mutation($input: ${type}!) { ${field}(input: $input) { __typename userErrors { code } } }`,
    variables: { input: await input(...args) },
  });

const byId =
  (text: string, id: (things: Things) => Promise<string>): CallOf =>
  async (things) => ({ query: text, variables: { id: await id(things) } });

const DAYS = { from: "2026-01-01", to: "2026-01-31" };
const reason = "test";

/** By field, and what the row is about where a field has several. */
export const CALLS: Readonly<Record<string, CallOf>> = {
  "Query.apiKeys": query("{ apiKeys(first: 100) { nodes { name prefix } } }"),
  "Query.apiKeys, of the tenant": query("{ apiKeys(first: 100, ofTenant: true) { nodes { name prefix } } }"),
  "Query.auditLog": query("{ auditLog { nodes { action reason } } }"),
  "Query.auditLog, of the platform": query("{ auditLog(scope: PLATFORM) { nodes { action } } }"),
  "Query.batch": byId(
    "query($id: ID!) { batch(id: $id) { id items(first: 5) { nodes { textToImage { prompt } } } } }",
    (t) => t.batch(),
  ),
  "Query.batches": query("{ batches(first: 5) { nodes { id items(first: 5) { nodes { textToImage { prompt } } } } } }"),
  "Query.batches, of the tenant": query("{ batches(first: 5, scope: TENANT) { nodes { id } } }"),
  "Query.deadLetters": query("{ deadLetters(first: 5) { nodes { id userId } } }"),
  "Query.deadLetters, by the tenant's id": query(
    "query($tenantId: ID!) { deadLetters(first: 5, tenantId: $tenantId) { nodes { id userId } } }",
    ({ tenantId }) => ({ tenantId }),
  ),
  "Query.deadLetters, of all tenants": query("{ deadLetters(first: 5, allTenants: true) { nodes { id } } }"),
  "Query.estimate": query("query($input: EstimateInput!) { estimate(input: $input) { credits } }", () => ({
    input: { task: { textToImage: { prompt: "a red circle" } } },
  })),
  "Query.fairness": query("{ fairness { receivedMs } }"),
  "Query.fairness, by the tenant's id": query(
    "query($tenantId: ID!) { fairness(tenantId: $tenantId) { receivedMs } }",
    ({ tenantId }) => ({ tenantId }),
  ),
  "Query.generation": byId("query($id: ID!) { generation(id: $id) { id textToImage { prompt } } }", (t) =>
    t.generation(),
  ),
  "Query.generations": query("{ generations(first: 20) { nodes { id textToImage { prompt } } } }"),
  "Query.generations, of the tenant": query(
    "{ generations(first: 20, scope: TENANT) { nodes { id textToImage { prompt } } } }",
  ),
  "Query.ledger": query("{ ledger { nodes { credits reason } } }"),
  "Query.ledger, by the tenant's id": query(
    "query($tenantId: ID!) { ledger(filter: {tenantId: $tenantId}) { nodes { credits } } }",
    ({ tenantId }) => ({ tenantId }),
  ),
  "Query.ledgerCsvUrl": query("query($from: String!, $to: String!) { ledgerCsvUrl(from: $from, to: $to) }", () => DAYS),
  "Query.ledgerCsvUrl, by the tenant's id": query(
    "query($from: String!, $to: String!, $tenantId: ID!) { ledgerCsvUrl(from: $from, to: $to, tenantId: $tenantId) }",
    ({ tenantId }) => ({ ...DAYS, tenantId }),
  ),
  "Query.limits": query("{ limits { kind max } }"),
  "Query.limits, by the tenant's id": query(
    "query($tenantId: ID!) { limits(tenantId: $tenantId) { kind max } }",
    ({ tenantId }) => ({ tenantId }),
  ),
  "Query.limits, of the platform": query("{ limits(platform: true) { kind max } }"),
  "Query.members": query("{ members(first: 5) { nodes { role user { name } } } }"),
  "Query.moderationPolicies": query("{ moderationPolicies { level checks { name words } } }"),
  "Query.moderationPolicies, by the tenant's id": query(
    "query($tenantId: ID!) { moderationPolicies(tenantId: $tenantId) { level checks { name words } } }",
    ({ tenantId }) => ({ tenantId }),
  ),
  "Query.moderationVerdicts": query("{ moderationVerdicts(first: 5) { nodes { check userId } } }"),
  "Query.node": byId("query($id: ID!) { node(id: $id) { id ... on Generation { textToImage { prompt } } } }", (t) =>
    t.generation(),
  ),
  "Query.node, a batch": byId("query($id: ID!) { node(id: $id) { id } }", (t) => t.batch()),
  "Query.node, a key": byId("query($id: ID!) { node(id: $id) { id ... on ApiKey { name } } }", (t) => t.key()),
  "Query.node, a member": byId("query($id: ID!) { node(id: $id) { id ... on User { name } } }", (t) => t.member()),
  "Query.node, the tenant": query("query($id: ID!) { node(id: $id) { id ... on Tenant { name } } }", (t) => ({
    id: t.tenantId,
  })),
  "Query.node, an upload": byId("query($id: ID!) { node(id: $id) { id } }", async (t) => (await t.sentFile()).id),
  "Query.nodes": byId(
    "query($id: ID!) { nodes(ids: [$id]) { id ... on Generation { textToImage { prompt } } } }",
    (t) => t.generation(),
  ),
  "Query.presets": query("{ presets { name } }"),
  "Query.tenants": query("{ tenants(first: 100) { nodes { name } } }"),
  "Query.upload": byId("query($id: ID!) { upload(id: $id) { id } }", async (t) => (await t.sentFile()).id),
  "Query.usage": query("query($input: UsageInput!) { usage(input: $input) { credits } }", () => ({
    input: { ...DAYS, groupBy: ["DAY"] },
  })),
  "Query.usage, by a member's id": query(
    "query($input: UsageInput!) { usage(input: $input) { credits } }",
    ({ userId }) => ({ input: { ...DAYS, groupBy: ["DAY"], userId } }),
  ),
  "Query.usage, by the tenant's id": query(
    "query($input: UsageInput!) { usage(input: $input) { credits } }",
    ({ tenantId }) => ({ input: { ...DAYS, groupBy: ["DAY"], tenantId } }),
  ),
  "Query.usageCsvUrl": query("query($from: String!, $to: String!) { usageCsvUrl(from: $from, to: $to) }", () => DAYS),
  "Query.usageCsvUrl, by the tenant's id": query(
    "query($from: String!, $to: String!, $tenantId: ID!) { usageCsvUrl(from: $from, to: $to, tenantId: $tenantId) }",
    ({ tenantId }) => ({ ...DAYS, tenantId }),
  ),
  "Query.verifyAuditLog": query("{ verifyAuditLog { entries } }"),
  "Query.verifyAuditLog, of the platform": query("{ verifyAuditLog(scope: PLATFORM) { entries } }"),
  "Query.viewer": query("{ viewer { role user { name } tenant { name } } }"),
  "Query.workers": query("{ workers { name state } }"),

  "Mutation.addMember": change("addMember", "AddMemberInput", (t) => ({ name: t.name(), role: "VIEWER" })),
  "Mutation.addMember, as an owner": change("addMember", "AddMemberInput", (t) => ({ name: t.name(), role: "OWNER" })),
  "Mutation.adjustCredits": change("adjustCredits", "ChangeCreditsInput", ({ tenantId }) => ({
    tenantId,
    credits: "-1",
    reason,
  })),
  "Mutation.cancelBatch": byId("mutation($id: ID!) { cancelBatch(id: $id) { userErrors { code } } }", (t) => t.batch()),
  "Mutation.cancelGeneration": byId("mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { code } } }", (t) =>
    t.generation(),
  ),
  "Mutation.createApiKey": change("createApiKey", "CreateApiKeyInput", (t) => ({ name: t.name() })),
  "Mutation.createApiKey, for a member": change("createApiKey", "CreateApiKeyInput", async (t) => ({
    name: t.name(),
    userId: await t.member(),
  })),
  "Mutation.createBatch": change("createBatch", "CreateBatchInput", (t) => ({
    idempotencyKey: t.name(),
    items: [{ prompt: "a red circle" }],
  })),
  "Mutation.createBatch, from an upload": change("createBatch", "CreateBatchInput", async (t) => ({
    idempotencyKey: t.name(),
    sourceUploadId: await t.finishedFile(),
  })),
  "Mutation.createGeneration": change("createGeneration", "CreateGenerationInput", (t) => ({
    idempotencyKey: t.name(),
    task: { textToImage: { prompt: "a red circle" } },
  })),
  "Mutation.createTenant": change("createTenant", "CreateTenantInput", () => ({
    name: "new",
    owner: { name: "new" },
    withApiKey: true,
  })),
  "Mutation.createUpload": change("createUpload", "CreateUploadInput", () => ({ purpose: "BATCH" })),
  "Mutation.deleteGeneration": byId("mutation($id: ID!) { deleteGeneration(id: $id) { userErrors { code } } }", (t) =>
    t.endedGeneration(),
  ),
  "Mutation.deleteImage": async (things, world) => ({
    query: "mutation($id: ID!) { deleteImage(id: $id) { userErrors { code } } }",
    variables: { id: await world.pictureOf(await things.endedGeneration()) },
  }),
  "Mutation.drainWorker": change("drainWorker", "DrainWorkerInput", () => ({ pool: "local", name: "fake", reason })),
  "Mutation.eraseTenant": change("eraseTenant", "EraseTenantInput", async (_, world) => ({
    id: (await world.newTenant()).id,
    name: "new",
    reason,
  })),
  "Mutation.exportTenant": change("exportTenant", "ExportTenantInput", () => ({ reason })),
  "Mutation.finishUpload": async (things) => ({
    query: "mutation($id: ID!, $sha256: String!) { finishUpload(id: $id, sha256: $sha256) { userErrors { code } } }",
    variables: await things.sentFile(),
  }),
  "Mutation.grantCredits": change("grantCredits", "ChangeCreditsInput", ({ tenantId }) => ({
    tenantId,
    credits: "1",
    reason,
  })),
  "Mutation.removeMember": change("removeMember", "RemoveMemberInput", async (t) => ({ userId: await t.member() })),
  "Mutation.replayGeneration": change("replayGeneration", "ReplayGenerationInput", async (t) => ({
    idempotencyKey: t.name(),
    id: await t.endedGeneration(),
  })),
  "Mutation.replayGenerations": async (t) => ({
    query: `mutation($input: ReplayGenerationsInput!) {
      replayGenerations(input: $input) { results { generation { textToImage { prompt } } userErrors { code } } userErrors { code } }
    }`,
    variables: { input: { idempotencyKey: t.name(), ids: [await t.endedGeneration()] } },
  }),
  "Mutation.resumeTenant": change("resumeTenant", "SuspendTenantInput", ({ tenantId }) => ({ id: tenantId, reason })),
  "Mutation.resumeWorker": change("resumeWorker", "ResumeWorkerInput", () => ({ pool: "local", name: "fake", reason })),
  "Mutation.revokeApiKey": change("revokeApiKey", "RevokeApiKeyInput", async (t) => ({ id: await t.key() })),
  "Mutation.rotateApiKey": change("rotateApiKey", "RotateApiKeyInput", async (t) => ({ id: await t.key() })),
  "Mutation.setLimit, of a member": change("setLimit", "SetLimitInput", async (t) => ({
    level: "MEMBER",
    userId: await t.member(),
    kind: "RUNNING",
    max: "1",
    reason,
  })),
  "Mutation.setLimit, of the tenant": change("setLimit", "SetLimitInput", ({ tenantId }) => ({
    level: "TENANT",
    tenantId,
    kind: "RUNNING",
    max: "1000",
    reason,
  })),
  "Mutation.setMemberRole": change("setMemberRole", "SetMemberRoleInput", async (t) => ({
    userId: await t.member(),
    role: "VIEWER",
  })),
  "Mutation.setModerationPolicy": change("setModerationPolicy", "SetModerationPolicyInput", () => ({
    checks: [],
    reason,
  })),
  "Mutation.setModerationPolicy, assigned by the platform": change(
    "setModerationPolicy",
    "SetModerationPolicyInput",
    ({ tenantId }) => ({ level: "ASSIGNED", tenantId, checks: [], reason }),
  ),
  "Mutation.setModerationPolicy, of the platform": change("setModerationPolicy", "SetModerationPolicyInput", () => ({
    level: "PLATFORM",
    checks: [],
    reason,
  })),
  "Mutation.setRetention": change("setRetention", "SetRetentionInput", () => ({ promptsDays: 365, reason })),
  "Mutation.setShareWeight": change("setShareWeight", "SetShareWeightInput", ({ tenantId }) => ({
    id: tenantId,
    weight: 1,
    reason,
  })),
  "Mutation.suspendTenant": change("suspendTenant", "SuspendTenantInput", async (_, world) => ({
    id: (await world.newTenant()).id,
    reason,
  })),

  "Subscription.generationEvents": byId(
    "subscription($id: ID!) { generationEvents(id: $id) { seq generationId } }",
    (t) => t.generation(),
  ),
};
