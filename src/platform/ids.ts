/** Ids: uuidv7 in the database, opaque and typed at the API: `gen_` and the 16 bytes in base64url. */
import { v7 } from "uuid";
import { DomainError } from "./errors.ts";

const PREFIXES = {
  Generation: "gen",
  Batch: "bat",
  Image: "img",
  Upload: "upl",
  Tenant: "ten",
  User: "usr",
  ApiKey: "key",
} as const;
export type IdType = keyof typeof PREFIXES;

/** A new database id; later ids sort behind earlier ones. */
export const newId = (): string => v7();

export const toGlobalId = (type: IdType, uuid: string): string => `${PREFIXES[type]}_${encodeUuid(uuid)}`;

/** Of something that may have no global id: then as it is. */
export const toPublicId = (type: string, id: string): string =>
  Object.hasOwn(PREFIXES, type) ? toGlobalId(type as IdType, id) : id;

/** Undefined where the prefix is that of no type. */
export function typeOfGlobalId(globalId: string): IdType | undefined {
  const prefix = globalId.slice(0, Math.max(0, globalId.indexOf("_")));
  return (Object.keys(PREFIXES) as IdType[]).find((type) => PREFIXES[type] === prefix);
}

/** The database id in a global id; one of another type, or a damaged one, is NOT_FOUND like any id that does not exist. */
export function fromGlobalId(type: IdType, globalId: string, path: readonly string[] = []): string {
  const prefix = `${PREFIXES[type]}_`;
  const uuid = globalId.startsWith(prefix) ? decodeUuid(globalId.slice(prefix.length)) : undefined;
  if (uuid === undefined) throw notFound(type, globalId, path);
  return uuid;
}

export const notFound = (type: IdType, globalId: string, path: readonly string[]): DomainError =>
  new DomainError("NOT_FOUND", `There is no ${type.toLowerCase()} "${globalId.slice(0, 64)}".`, { path: [...path] });

/** A position in a list, opaque to callers. */
export const toCursor = (uuid: string): string => `c_${encodeUuid(uuid)}`;

export function fromCursor(cursor: string, argument: string): string {
  const uuid = cursor.startsWith("c_") ? decodeUuid(cursor.slice(2)) : undefined;
  return uuid ?? refuseCursor(argument);
}

/** A position in a list whose rows are numbered. */
export const toIndexCursor = (index: number): string => `i_${Buffer.from(String(index)).toString("base64url")}`;

export function fromIndexCursor(cursor: string, argument: string): number {
  const digits = cursor.startsWith("i_") ? Buffer.from(cursor.slice(2), "base64url").toString() : "";
  return /^\d{1,9}$/.test(digits) ? Number(digits) : refuseCursor(argument);
}

function refuseCursor(argument: string): never {
  throw new DomainError(
    "INVALID_INPUT",
    `"${argument}" is not a cursor. Use an edge's cursor or pageInfo.endCursor as it came.`,
    { path: [argument] },
  );
}

const encodeUuid = (uuid: string): string => Buffer.from(uuid.replaceAll("-", ""), "hex").toString("base64url");

function decodeUuid(text: string): string | undefined {
  if (!/^[A-Za-z0-9_-]{22}$/.test(text)) return undefined;
  const hex = Buffer.from(text, "base64url").toString("hex");
  if (encodeUuid(hex) !== text) return undefined;
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
