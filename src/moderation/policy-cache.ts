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
/** Words of the compiled lists that are kept: about half a kilobyte each. */
const MAX_KEPT_WORDS = 200_000;

export interface PolicyCacheServices {
  readonly db: Database;
  readonly clock: Clock;
  /** The operator's own service; undefined when there is none. */
  readonly checker: HttpChecker | undefined;
}

interface Compiled {
  readonly version: number;
  readonly checks: readonly Check[];
  readonly wordCount: number;
}

export class PolicyCache {
  /** Of every list that was ever set. */
  private readonly versions = new Map<string, number>();
  /** The one that was used last is last. */
  private readonly compiled = new Map<string, Compiled>();
  private readonly compiling = new Map<string, Promise<Compiled>>();
  private newestChange = new Date(0);
  private freshUntil = 0;
  private refreshing: Promise<void> | undefined;

  constructor(private readonly services: PolicyCacheServices) {}

  /** In the order in which they are asked. Opens transactions of its own. */
  async checksOf(tenantId: string): Promise<readonly Check[]> {
    if (this.services.clock.elapsedMs() >= this.freshUntil) await this.refresh();
    const keys = keysOf(tenantId).filter((key) => this.versions.has(nameOf(key)));
    const lists: (readonly Check[])[] = [];
    for (const key of keys) lists.push(await this.compiledOf(key, asTenant(tenantId)));
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
    this.freshUntil = clock.elapsedMs() + FRESH_MS;
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

  private async compiledOf(key: PolicyKey, access: Access): Promise<readonly Check[]> {
    const name = nameOf(key);
    const version = this.versions.get(name);
    const kept = this.compiled.get(name);
    if (kept !== undefined && kept.version === version) {
      this.keep(name, kept);
      return kept.checks;
    }
    // Whoever else asks meanwhile waits for the same: a long list takes a tenth of a second.
    const underway = `${name} ${version}`;
    const compiling =
      this.compiling.get(underway) ?? this.compile(key, access).finally(() => this.compiling.delete(underway));
    this.compiling.set(underway, compiling);
    return (await compiling).checks;
  }

  private async compile(key: PolicyKey, access: Access): Promise<Compiled> {
    const { db, checker } = this.services;
    const { version, checks } = await db.transaction(access, (tx) => getPolicy(tx, key));
    const wordCount = checks.reduce((sum, check) => sum + (check.kind === "WORDS" ? check.words.length : 0), 1);
    const compiled = { version, wordCount, checks: checks.map((check) => toCheck(check, key.level, checker)) };
    const name = nameOf(key);
    this.versions.set(name, version); // it may be newer than what is known
    this.keep(name, compiled);
    this.dropOldest();
    return compiled;
  }

  /** As the one that was used last. */
  private keep(name: string, compiled: Compiled): void {
    this.compiled.delete(name);
    this.compiled.set(name, compiled);
  }

  private dropOldest(): void {
    let kept = [...this.compiled.values()].reduce((sum, { wordCount }) => sum + wordCount, 0);
    for (const [name, { wordCount }] of this.compiled) {
      if (kept <= MAX_KEPT_WORDS) break;
      this.compiled.delete(name);
      kept -= wordCount;
    }
  }
}

const nameOf = ({ tenantId, level }: PolicyKey): string => `${level} ${tenantId}`;
