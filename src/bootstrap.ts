/**
 * The first start of an embedded installation: a tenant with credits, a platform administrator who owns it, a member, and
 * a key for each. Later starts only see to it that the credentials file holds keys that work.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { newSecret } from "./auth/api-key.ts";
import { findPrincipal, insertApiKey, revokeApiKeys } from "./auth/auth.store.ts";
import type { Role } from "./generated/prisma/enums.ts";
import { asPlatform } from "./platform/access.ts";
import type { Database, Tx } from "./platform/database.ts";
import { writePrivateFile } from "./platform/secrets.ts";
import type { QuotaService } from "./quota/quota.service.ts";
import { credits } from "./quota/tariff.ts";
import { findFirstTenant, insertMember, insertTenant } from "./tenancy/tenancy.store.ts";

/** Any number that other programs hardly lock: several processes may start at once. */
const BOOTSTRAP_LOCK = 4_711_002;
const CREDENTIALS_FILE = "credentials.json";
const FIRST_GRANT = credits(1_000_000);
const KEY_NAME = "bootstrap";

const credentialsSchema = z.object({ url: z.string(), apiKey: z.string(), adminApiKey: z.string() });
export type Credentials = z.infer<typeof credentialsSchema>;

interface FirstTenant {
  readonly id: string;
  readonly memberId: string;
  readonly ownerId: string;
}

export async function bootstrap(
  { db, quota }: { db: Database; quota: QuotaService },
  { dataDir, url }: { dataDir: string; url: string },
): Promise<Credentials> {
  const path = join(dataDir, CREDENTIALS_FILE);
  const known = readCredentials(path);
  const credentials = await db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`select pg_advisory_xact_lock(${BOOTSTRAP_LOCK}::bigint)`;
    const tenant = await firstTenant(tx, quota);
    const works = known !== undefined && (await bothWork(tx, known));
    const current = works ? { ...known, url } : { url, apiKey: newSecret(), adminApiKey: newSecret() };
    // What a lost file held is of no use any more; but other processes on a server may have their own files.
    if (!works && db.isExclusive) await revokeKeys(tx, tenant);
    if (!works) await insertKeys(tx, tenant, current);
    return current;
  });
  writePrivateFile(path, credentials);
  return credentials;
}

/** Sees to it that the first administrator of the platform has this key, whichever process does so first. */
export async function bootstrapAdmin(
  { db, quota }: { db: Database; quota: QuotaService },
  secret: string,
): Promise<void> {
  await db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`select pg_advisory_xact_lock(${BOOTSTRAP_LOCK}::bigint)`;
    const { id: tenantId, ownerId: userId } = await firstTenant(tx, quota);
    if ((await findPrincipal(tx, secret)) !== undefined) return;
    await revokeApiKeys(tx, { tenantId, userId, name: KEY_NAME });
    await insertApiKey(tx, { tenantId, userId, name: KEY_NAME, secret });
  });
}

async function firstTenant(tx: Tx, quota: QuotaService): Promise<FirstTenant> {
  const found = await findFirstTenant(tx);
  const tenantId = found?.id ?? (await insertTenant(tx, "Atelier"));
  if (found === undefined) await quota.grant(tx, tenantId, { credits: FIRST_GRANT, reason: "first start" });
  const userOf = (role: Role): string | undefined => found?.members.find((member) => member.role === role)?.userId;
  return {
    id: tenantId,
    ownerId:
      userOf("OWNER") ??
      (await insertMember(tx, { tenantId, role: "OWNER", name: "Administrator", isPlatformAdmin: true })),
    memberId:
      userOf("MEMBER") ??
      (await insertMember(tx, { tenantId, role: "MEMBER", name: "Member", isPlatformAdmin: false })),
  };
}

async function bothWork(tx: Tx, { apiKey, adminApiKey }: Credentials): Promise<boolean> {
  return (await findPrincipal(tx, apiKey)) !== undefined && (await findPrincipal(tx, adminApiKey)) !== undefined;
}

async function revokeKeys(tx: Tx, { id: tenantId, memberId, ownerId }: FirstTenant): Promise<void> {
  for (const userId of [memberId, ownerId]) await revokeApiKeys(tx, { tenantId, userId, name: KEY_NAME });
}

async function insertKeys(
  tx: Tx,
  { id: tenantId, memberId, ownerId }: FirstTenant,
  { apiKey, adminApiKey }: Credentials,
): Promise<void> {
  await insertApiKey(tx, { tenantId, userId: memberId, name: KEY_NAME, secret: apiKey });
  await insertApiKey(tx, { tenantId, userId: ownerId, name: KEY_NAME, secret: adminApiKey });
}

function readCredentials(path: string): Credentials | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return credentialsSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}
