/** Reading what was used and what was paid: in pages, in sums, and as CSV files under signed links. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import { NIL } from "uuid";
import { mayForAll } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, toGlobalId } from "../platform/ids.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import { checkExpiry } from "../storage/link-expiry.ts";
import { refuse, type SignedLinks } from "../storage/signed-links.ts";
import { readTenant, tenantIdOf } from "../tenancy/tenant-reading.ts";
import { formatCredits } from "./tariff.ts";
import { type LedgerRow, listLedger, sumUsage, type UsageRow } from "./usage.store.ts";
import type { LedgerConnection, LedgerEntry, LedgerFilter, Usage, UsageInput } from "./usage.type.ts";

const MAX_DAYS = 366;
/** Of one answer. */
const MAX_ROWS = 10_000;
/** Entries that are read in one transaction. */
const PAGE = 500;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
/** /exports/<tenant>/<file>/<from>/<to>.csv, days both included */
const PATH = /^\/exports\/([0-9a-f-]{36})\/(usage|ledger)\/(\d{4}-\d{2}-\d{2})\/(\d{4}-\d{2}-\d{2})\.csv$/;

const USAGE_COLUMNS = ["day", "userId", "apiKeyId", "task", "ended", "succeeded", "credits", "pixels"] as const;
const LEDGER_COLUMNS = ["at", "kind", "credits", "held", "generationId", "batchId", "reason"] as const;

export interface UsageServices {
  readonly db: Database;
  readonly links: SignedLinks;
}

export interface ExportRequest {
  readonly file: "usage" | "ledger";
  readonly from: string;
  readonly to: string;
  readonly tenantId?: string | undefined;
  readonly expiresInSeconds: number;
}

export class UsageService {
  constructor(private readonly services: UsageServices) {}

  /** Of the tenant for its operators; others see their own. */
  async sum(principal: Principal, input: UsageInput): Promise<readonly Usage[]> {
    checkDays(input.from, input.to);
    const path = ["input", "tenantId"];
    const isAll =
      tenantIdOf(principal, input.tenantId, path) !== principal.tenantId || mayForAll(principal, "usage:read");
    const asked = input.userId === undefined ? undefined : fromGlobalId("User", input.userId, ["input", "userId"]);
    const userId = isAll ? asked : principal.userId;
    const apiKeyId =
      input.apiKeyId === undefined ? undefined : fromGlobalId("ApiKey", input.apiKeyId, ["input", "apiKeyId"]);
    const { from, to, task, groupBy: groups } = input;
    if (new Set(groups).size !== groups.length)
      throw new DomainError("INVALID_INPUT", "Name each group once.", { path: ["input", "groupBy"] });
    const reading = { action: "usage:read", tenantId: input.tenantId, path } as const;
    const rows = await readTenant(this.services.db, principal, reading, (tx, tenantId) =>
      sumUsage(tx, { tenantId, from, to, userId, apiKeyId, task }, { groups, limit: MAX_ROWS }),
    );
    return rows.map(toUsage);
  }

  async ledger(
    principal: Principal,
    { first, after, filter }: { first: number; after?: string | undefined; filter: LedgerFilter },
  ): Promise<LedgerConnection> {
    const request = pageRequest({ first, ...(after === undefined ? {} : { after }) });
    const generationId =
      filter.generationId === undefined
        ? undefined
        : fromGlobalId("Generation", filter.generationId, ["filter", "generationId"]);
    const { kinds = [], from, to } = filter;
    const reading = { action: "ledger:read", tenantId: filter.tenantId, path: ["filter", "tenantId"] } as const;
    const rows = await readTenant(this.services.db, principal, reading, (tx, tenantId) =>
      listLedger(tx, { tenantId, kinds, from, to, generationId }, request),
    );
    return pageOf(rows, request, toLedgerEntry);
  }

  /** A link to a CSV file that works for anyone until it expires. */
  async exportUrl(
    principal: Principal,
    { file, from, to, tenantId: globalId, expiresInSeconds }: ExportRequest,
  ): Promise<string> {
    const reading = { action: `${file}:read`, tenantId: globalId, path: ["tenantId"] } as const;
    const tenantId = await readTenant(this.services.db, principal, reading, async (_, found) => found);
    if (tenantId === principal.tenantId && !mayForAll(principal, `${file}:read`))
      throw new DomainError("FORBIDDEN", `The role ${principal.role} reads its own use only, with the query usage.`);
    checkDays(from, to);
    checkExpiry(expiresInSeconds);
    return this.services.links.make(`/exports/${tenantId}/${file}/${from}/${to}.csv`, expiresInSeconds);
  }

  /** Whether a request is for such a file. */
  isFor(request: IncomingMessage): boolean {
    return PATH.test(pathOf(request));
  }

  /** Answers a request for a signed link. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.services.links.admit(request, response) === undefined) return;
    const [, tenantId, file, from, to] = PATH.exec(pathOf(request)) ?? [];
    if (tenantId === undefined || from === undefined || to === undefined) return refuse(response, 404, "No such file.");
    const headers = {
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="${file}-${from}-${to}.csv"`,
      "cache-control": "no-store",
    };
    const content = () =>
      file === "usage" ? this.usageLines(tenantId, from, to) : this.ledgerLines(tenantId, from, to);
    await this.services.links.send(request, response, { headers, content });
  }

  private async *usageLines(tenantId: string, from: string, to: string): AsyncGenerator<string> {
    yield `${USAGE_COLUMNS.join()}\r\n`;
    for (const day of daysBetween(from, to)) {
      const rows = await this.services.db.transaction(asTenant(tenantId), (tx) =>
        sumUsage(
          tx,
          { tenantId, from: day, to: day },
          { groups: ["DAY", "MEMBER", "API_KEY", "TASK"], limit: MAX_ROWS },
        ),
      );
      await setImmediate(); // queries of the embedded database leave no turn to others
      yield rows.map((row) => toCsvLine(toUsage(row), USAGE_COLUMNS)).join("");
    }
  }

  private async *ledgerLines(tenantId: string, from: string, to: string): AsyncGenerator<string> {
    yield `${LEDGER_COLUMNS.join()}\r\n`;
    const range = { tenantId, kinds: [], from: new Date(from), to: new Date(Date.parse(to) + 86_400_000) };
    for (let after: string | undefined; ; ) {
      const rows = await this.services.db.transaction(asTenant(tenantId), (tx) =>
        listLedger(tx, range, { after, limit: PAGE }),
      );
      yield rows.map((row) => toCsvLine(toLedgerEntry(row), LEDGER_COLUMNS)).join("");
      if (rows.length < PAGE) return;
      after = rows.at(-1)?.id;
      await setImmediate();
    }
  }
}

function checkDays(from: string, to: string): void {
  for (const day of [from, to]) {
    if (DAY.test(day) && !Number.isNaN(Date.parse(day))) continue;
    throw new DomainError("INVALID_INPUT", `"${day.slice(0, 32)}" is not a day such as 2026-01-31.`);
  }
  const days = (Date.parse(to) - Date.parse(from)) / 86_400_000 + 1;
  if (days < 1 || days > MAX_DAYS)
    throw new DomainError("INVALID_INPUT", `From ${from} to ${to} are ${days} days; 1 to ${MAX_DAYS} are possible.`);
}

function* daysBetween(from: string, to: string): Generator<string> {
  for (let time = Date.parse(from); time <= Date.parse(to); time += 86_400_000)
    yield new Date(time).toISOString().slice(0, 10);
}

const pathOf = ({ url = "" }: IncomingMessage): string => url.split("?", 1)[0] ?? "";

const toUsage = ({ userId, apiKeyId, credits, ended, succeeded, pixels, ...row }: UsageRow): Usage => ({
  ...row,
  userId: userId === null ? null : toGlobalId("User", userId),
  apiKeyId: apiKeyId === null || apiKeyId === NIL ? null : toGlobalId("ApiKey", apiKeyId),
  ended: Number(ended),
  succeeded: Number(succeeded),
  credits: formatCredits(credits),
  pixels: Number(pixels),
});

const toLedgerEntry = ({ kind, credits, held, generationId, batchId, reason, at }: LedgerRow): LedgerEntry => ({
  kind,
  credits: formatCredits(credits),
  held: formatCredits(held),
  generationId: generationId === null ? null : toGlobalId("Generation", generationId),
  batchId: batchId === null ? null : toGlobalId("Batch", batchId),
  reason,
  at,
});

/** RFC 4180. Text that a spreadsheet would take for a formula is made text. */
const toCsvLine = <Row>(row: Row, columns: readonly (keyof Row)[]): string =>
  `${columns.map((column) => toCsvCell(row[column])).join()}\r\n`;

function toCsvCell(value: unknown): string {
  const text = value instanceof Date ? value.toISOString() : String(value ?? "");
  const safe = /^[=+@\t\r]|^-(?!\d)/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
