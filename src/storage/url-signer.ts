/** Links bound to a key and a time by HMAC-SHA256. */
import { createHmac, timingSafeEqual } from "node:crypto";

export interface SigningKey {
  /** Travels in the link, so that keys can be rotated. */
  readonly id: string;
  readonly secret: string;
}

export type Verdict = "valid" | "expired" | "forged";

export class UrlSigner {
  constructor(private readonly key: SigningKey) {}

  /** Query parameters that make a link to `path` valid until then. */
  sign(path: string, expiresAt: Date): URLSearchParams {
    const expires = String(Math.floor(expiresAt.getTime() / 1000));
    return new URLSearchParams({ expires, key: this.key.id, signature: this.signature(path, expires) });
  }

  verify(path: string, parameters: URLSearchParams, now: Date): Verdict {
    const expires = parameters.get("expires") ?? "";
    const given = Buffer.from(parameters.get("signature") ?? "");
    const expected = Buffer.from(this.signature(path, expires));
    if (parameters.get("key") !== this.key.id || given.length !== expected.length || !timingSafeEqual(given, expected))
      return "forged";
    return Number(expires) * 1000 > now.getTime() ? "valid" : "expired";
  }

  private signature(path: string, expires: string): string {
    return createHmac("sha256", Buffer.from(this.key.secret, "base64url"))
      .update(`${path}\n${expires}`)
      .digest("base64url");
  }
}
