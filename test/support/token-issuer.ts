/** An OpenID Connect issuer on this machine: its discovery document, its keys, and tokens that it signs. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";

export const AUDIENCE = "atelier-test";

interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: JWK;
}

export class TokenIssuer {
  /** Set while it answers nothing but errors. */
  isDown = false;
  private keys: SigningKey[] = [];
  private made = 0;

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<TokenIssuer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const issuer = new TokenIssuer(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on("request", ({ url }, response) => {
      const answer = issuer.isDown ? undefined : issuer.answer(url ?? "");
      response.writeHead(answer === undefined ? 500 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    });
    await issuer.rotate();
    return issuer;
  }

  get environment(): Record<string, string> {
    return { OIDC_ISSUER: this.url, OIDC_AUDIENCE: AUDIENCE };
  }

  /** Signs with a new key from now on, and no longer publishes the old one. */
  async rotate(alg = "ES256"): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    const kid = `key-${++this.made}`;
    this.keys = [{ kid, alg, privateKey, publicKey: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } }];
  }

  /** A token of somebody for our audience, for an hour, unless the claims say otherwise. */
  async token(claims: JWTPayload = {}, header: object = {}): Promise<string> {
    const { kid, alg, privateKey } = this.keys[0]!;
    const now = Math.floor(Date.now() / 1000);
    const payload = { iss: this.url, aud: AUDIENCE, iat: now, exp: now + 3600, email_verified: true, ...claims };
    return new SignJWT(payload).setProtectedHeader({ alg, kid, ...header }).sign(privateKey);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(path: string): object | undefined {
    if (path === "/.well-known/openid-configuration") return { issuer: this.url, jwks_uri: `${this.url}/jwks` };
    return path === "/jwks" ? { keys: this.keys.map(({ publicKey }) => publicKey) } : undefined;
  }
}
