/** API keys: 256 random bits behind a readable prefix. Only their SHA-256 is stored: nothing slower is needed at that entropy. */
import { createHash, randomBytes } from "node:crypto";

const PATTERN = /^atelier_[A-Za-z0-9_-]{43}$/;
/** Three parts; the last is empty in one that is not signed. */
const TOKEN_PATTERN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const PREFIX_LENGTH = "atelier_".length + 6;

export const newSecret = (): string => `atelier_${randomBytes(32).toString("base64url")}`;

export const hashSecret = (secret: string): string => createHash("sha256").update(secret).digest("hex");

/** What may be shown of a secret, to recognise it by. */
export const prefixOf = (secret: string): string => secret.slice(0, PREFIX_LENGTH);

/** The JSON Web Token in an Authorization header, or undefined when it holds none. */
export function tokenOf(authorization: string): string | undefined {
  const [scheme, token = ""] = authorization.split(" ");
  return scheme?.toLowerCase() === "bearer" && TOKEN_PATTERN.test(token) ? token : undefined;
}

/** The secret in an Authorization header, or undefined when it holds none. */
export function secretOf(authorization: string | undefined): string | undefined {
  const [scheme, secret = ""] = (authorization ?? "").split(" ");
  return scheme?.toLowerCase() === "bearer" && PATTERN.test(secret) ? secret : undefined;
}
