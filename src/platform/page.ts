/** Pages of a list that is shown newest first, after the Relay cursor connections specification. */
import { DomainError } from "./errors.ts";
import { fromCursor, toCursor } from "./ids.ts";
import type { PageArguments, PageInfo } from "./page.type.ts";

const MAX_PAGE = 100;

/** What to read for a page. */
export interface PageRequest {
  /** Rows after (older than) or before (newer than) a row, which need not exist. */
  readonly after: string | undefined;
  readonly before: string | undefined;
  /** From the newest side, or from the oldest. */
  readonly from: "newest" | "oldest";
  /** One more than the page shows, which tells whether there are more. */
  readonly limit: number;
}

export interface Page<Node> {
  readonly edges: readonly { readonly cursor: string; readonly node: Node }[];
  readonly nodes: readonly Node[];
  readonly pageInfo: PageInfo;
}

export function pageRequest({ first, last, after, before }: PageArguments): PageRequest {
  return {
    after: after === undefined ? undefined : fromCursor(after, "after"),
    before: before === undefined ? undefined : fromCursor(before, "before"),
    from: last === undefined ? "newest" : "oldest",
    limit: pageSize(first, last) + 1,
  };
}

/** @param rows newest first, as many as the request asked for */
export function pageOf<Row extends { readonly id: string }, Node>(
  rows: readonly Row[],
  { after, before, from, limit }: PageRequest,
  toNode: (row: Row) => Node,
): Page<Node> {
  const size = limit - 1;
  const isForward = from === "newest";
  const hasMore = rows.length > size;
  const shown = isForward ? rows.slice(0, size) : rows.slice(-size);
  const edges = shown.map((row) => ({ cursor: toCursor(row.id), node: toNode(row) }));
  return {
    edges,
    nodes: edges.map(({ node }) => node),
    pageInfo: {
      hasNextPage: isForward ? hasMore : before !== undefined,
      hasPreviousPage: isForward ? after !== undefined : hasMore,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

export function pageSize(first: number | undefined, last: number | undefined): number {
  const size = first ?? last;
  if (size !== undefined && (first === undefined || last === undefined) && size >= 1 && size <= MAX_PAGE) return size;
  throw new DomainError("INVALID_INPUT", `Give either first or last, from 1 to ${MAX_PAGE}.`, {
    path: [last === undefined ? "first" : "last"],
  });
}
