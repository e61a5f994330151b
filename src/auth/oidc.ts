/**
 * People sign in with an OpenID Connect issuer and send the token that it gave them: a JWT for our audience, signed with a
 * key that the issuer publishes. Nothing else of OpenID Connect happens here.
 */
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { z } from "zod";
import type { Clock } from "../platform/clock.ts";
import { DomainError } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";

/** None of them can be verified with a public key that was taken for a shared secret. */
const ALGORITHMS = ["RS256", "ES256"];
/** How far the issuer's clock may be off. */
const CLOCK_TOLERANCE_SECONDS = 5;
const FETCH_TIMEOUT_MS = 5000;
/** A key nobody knows makes us ask the issuer for new ones, but not more often than this. */
const UNKNOWN_KEY_PAUSE_MS = 2000;

export interface OidcOptions {
  readonly issuer: string;
  readonly audience: string;
  /** By discovery when undefined. */
  readonly jwksUrl: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a token says, checked. */
export interface SignIn {
  readonly issuer: string;
  readonly subject: string;
  /** Only if the issuer has verified it. */
  readonly email: string | null;
  readonly expiresAt: Date;
}

const discoverySchema = z.object({ issuer: z.string(), jwks_uri: z.url() });
const claimsSchema = z.object({
  sub: z.string().min(1),
  exp: z.number(),
  email: z.string().optional(),
  email_verified: z.boolean().optional(),
});

export class Oidc {
  private keys: Promise<JWTVerifyGetKey> | undefined;

  constructor(private readonly options: OidcOptions) {}

  /** Throws UNAUTHENTICATED for a token that is not valid, and UNAVAILABLE when that cannot be found out. */
  async verify(token: string): Promise<SignIn> {
    const { issuer, audience, clock } = this.options;
    try {
      const { payload } = await jwtVerify(token, this.findKey, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ["sub", "exp"],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: clock.now(),
      });
      return readClaims(payload, issuer);
    } catch (error) {
      if (error instanceof DomainError) throw error;
      throw new DomainError("UNAUTHENTICATED", refusalOf(error, this.options), { cause: error });
    }
  }

  private readonly findKey: JWTVerifyGetKey = async (header, jws) => {
    try {
      this.keys ??= this.loadKeys();
      const keys = await this.keys;
      return await keys(header, jws);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      if (error instanceof errors.JOSENotSupported) throw error;
      this.options.logger.warn({ err: error }, "keys of the issuer could not be loaded");
      throw new DomainError(
        "UNAVAILABLE",
        "The sign-in service cannot be reached, so your token cannot be checked. Try again in a moment.",
        {
          retryable: true,
          retryAfterMs: UNKNOWN_KEY_PAUSE_MS,
          cause: error,
        },
      );
    }
  };

  /** Where they are is asked once; the keys themselves again when they are old, or one is missing. */
  private async loadKeys(): Promise<JWTVerifyGetKey> {
    try {
      const url = new URL(this.options.jwksUrl ?? (await this.discover()));
      return createRemoteJWKSet(url, { timeoutDuration: FETCH_TIMEOUT_MS, cooldownDuration: UNKNOWN_KEY_PAUSE_MS });
    } catch (error) {
      this.keys = undefined;
      throw error;
    }
  }

  private async discover(): Promise<string> {
    const { issuer } = this.options;
    const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS), redirect: "error" });
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    const found = discoverySchema.parse(await response.json());
    if (found.issuer !== issuer) throw new Error(`${url} is the configuration of another issuer, ${found.issuer}`);
    return found.jwks_uri;
  }
}

function readClaims(payload: JWTPayload, issuer: string): SignIn {
  const { sub: subject, exp, email, email_verified: isVerified = false } = claimsSchema.parse(payload);
  return { issuer, subject, email: isVerified && email !== undefined ? email : null, expiresAt: new Date(exp * 1000) };
}

function refusalOf(error: unknown, { issuer, audience }: OidcOptions): string {
  if (error instanceof errors.JWTExpired) return "This token has expired. Sign in again.";
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "aud") return `This token is for another audience. Ask ${issuer} for one for "${audience}".`;
    if (error.claim === "iss") return `This token is from another issuer. Sign in at ${issuer}.`;
    return `The claim "${error.claim}" of this token is missing or not valid yet. Sign in again.`;
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return `This token is not signed with ${ALGORITHMS.join(" or ")}. Sign in at ${issuer}.`;
  if (error instanceof errors.JWKSNoMatchingKey)
    return `This token is signed with a key that ${issuer} does not publish. Sign in again.`;
  return `This token is not valid. Sign in again at ${issuer}.`;
}
