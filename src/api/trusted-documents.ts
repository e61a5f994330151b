/**
 * Queries that clients may send, where an installation takes no others: a JSON file of their texts by SHA-256, as code
 * generators write it for a frontend. A client sends `documentId` ("sha256:…") in place of `query`, or the same text.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { z } from "zod";
import { DomainError, StartupError } from "../platform/errors.ts";

const fileSchema = z.record(z.string().regex(/^(sha256:)?[0-9a-f]{64}$/), z.string().min(1));

/** The part of a request that names a query. */
export interface QueryRequest {
  readonly query?: unknown;
  readonly documentId?: unknown;
}

export class TrustedDocuments {
  private constructor(private readonly texts: ReadonlyMap<string, string>) {}

  static read(path: string): TrustedDocuments {
    try {
      const entries = Object.entries(fileSchema.parse(JSON.parse(readFileSync(path, "utf8"))));
      for (const [id, text] of entries) {
        if (hashOf(text) !== plain(id)) throw new Error(`the text of ${id} has the SHA-256 ${hashOf(text)}`);
      }
      return new TrustedDocuments(new Map(entries.map(([id, text]) => [plain(id), text])));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new StartupError(
        `TRUSTED_DOCUMENTS: ${path} cannot be used: ${reason}. It must be JSON, {"<SHA-256 of the text>": "<text>", …}.`,
        { cause },
      );
    }
  }

  /** @returns the text of the query; throws for one that is not among them */
  textOf({ documentId, query }: QueryRequest): string {
    const id = typeof documentId === "string" ? plain(documentId) : hashOf(typeof query === "string" ? query : "");
    const text = this.texts.get(id);
    if (text !== undefined) return text;
    throw new DomainError(
      "FORBIDDEN",
      "This server runs queries from its list only. Send the documentId of one, or have the query added.",
    );
  }
}

const plain = (id: string): string => id.replace(/^sha256:/, "");

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
