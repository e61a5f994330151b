/**
 * The checks that concern a tenant, compiled. Which lists have changed is asked at most every two seconds, once for all
 * tenants, so that work of a tenant without checks asks nothing.
 */
import { type Access, asDispatcher, asTenant } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import type { Check } from "./check.ts";
import type { HttpChecker } from "./http-checker.ts";
import { getPolicy, keysOf, listChanged, type PolicyKey } from "./policy.store.ts";
import { toCheck } from "./policy.ts";

const FRESH_MS = 2000;
/** A change may be committed that much later than its time says: longer than a transaction lasts. */
const LATE_MS = 60_000;
/** Compiled lists that are kept. */
const MAX_COMPILED = 200;

export interface PolicyCacheServices {
  readonly db: Database;
  readonly clock: Clock;
  /** The operator's own service; undefined when there is none. */
  readonly checker: HttpChecker | undefined;
}

interface Compiled {
  readonly version: number;
  readonly checks: readonly Check[];
}

export class PolicyCache {
  /** Of every list that was ever set. */
  private readonly versions = new Map<string, number>();
  /** Those used last are last. */
  private readonly compiled = new Map<string, Compiled>();
  private newestChange = new Date(0);
  private freshUntil = 0;
  private refreshing: Promise<void> | undefined;

  constructor(private readonly services: PolicyCacheServices) {}

  /** In the order in which they are asked. Opens transactions of its own. */
  async checksOf(tenantId: string): Promise<readonly Check[]> {
    if (this.services.clock.now().getTime() >= this.freshUntil) await this.refresh();
    const keys = keysOf(tenantId).filter((key) => this.versions.has(nameOf(key)));
    const lists: (readonly Check[])[] = [];
    for (const key of keys) lists.push(await this.compile(key, asTenant(tenantId)));
    return lists.flat();
  }

  /** A list was set here: whoever asks next gets the new one. */
  expire(): void {
    this.freshUntil = 0;
    this.refreshing = undefined;
  }

  private refresh(): Promise<void> {
    if (this.refreshing !== undefined) return this.refreshing;
    const refreshing = this.readChanges().finally(() => {
      if (this.refreshing === refreshing) this.refreshing = undefined;
    });
    this.refreshing = refreshing;
    return refreshing;
  }

  private async readChanges(): Promise<void> {
    const { db, clock } = this.services;
    this.freshUntil = clock.now().getTime() + FRESH_MS;
    try {
      const since = new Date(this.newestChange.getTime() - LATE_MS);
      for (const change of await db.transaction(asDispatcher, (tx) => listChanged(tx, since))) {
        this.versions.set(nameOf(change), change.version);
        this.newestChange = change.changedAt;
      }
    } catch (error) {
      this.expire();
      throw error;
    }
  }

  private async compile(key: PolicyKey, access: Access): Promise<readonly Check[]> {
    const name = nameOf(key);
    let compiled = this.compiled.get(name);
    this.compiled.delete(name);
    if (compiled?.version !== this.versions.get(name)) {
      const { db, checker } = this.services;
      const { version, checks } = await db.transaction(access, (tx) => getPolicy(tx, key));
      compiled = { version, checks: checks.map((check) => toCheck(check, key.level, checker)) };
    }
    if (compiled === undefined) return [];
    this.compiled.set(name, compiled);
    for (const oldest of this.compiled.keys()) {
      if (this.compiled.size <= MAX_COMPILED) break;
      this.compiled.delete(oldest);
    }
    return compiled.checks;
  }
}

const nameOf = ({ tenantId, level }: PolicyKey): string => `${level} ${tenantId}`;
