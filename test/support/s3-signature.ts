/** AWS Signature Version 4 of requests to S3, as its documentation describes it: independent of what the product signs with. */
import { createHash, createHmac } from "node:crypto";

export interface SignedParts {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly signedHeaders: readonly string[];
  readonly payloadHash: string;
  /** 20130524T000000Z */
  readonly date: string;
  readonly region: string;
  readonly secret: string;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

export function signatureOf(request: SignedParts): string {
  const { method, url, headers, signedHeaders, payloadHash, date, region, secret } = request;
  const query = [...url.searchParams]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join("&");
  const lines = signedHeaders.map((name) => `${name}:${(headers[name] ?? "").trim()}\n`).join("");
  const canonical = [method, url.pathname, query, lines, signedHeaders.join(";"), payloadHash].join("\n");
  const day = date.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const key = [day, region, "s3", "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${secret}`);
  return hmac(key, ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n")).toString("hex");
}
