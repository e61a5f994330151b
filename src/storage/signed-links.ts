/** Links to paths of this server that work for anyone until they expire, and their check. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../platform/clock.ts";
import type { Logger } from "../platform/logger.ts";
import type { UrlSigner } from "./url-signer.ts";

export interface SignedLinkOptions {
  readonly signer: UrlSigner;
  readonly clock: Clock;
  /** Address of this server as clients see it, without a trailing slash. */
  readonly publicUrl: () => string;
  readonly logger: Logger;
}

/** What a link leads to. */
export interface LinkedFile {
  readonly headers: Readonly<Record<string, string | number>>;
  /** Not called for HEAD. */
  content(): AsyncIterable<string | Uint8Array>;
}

export class SignedLinks {
  constructor(private readonly options: SignedLinkOptions) {}

  make(path: string, expiresInSeconds: number): string {
    const { signer, clock, publicUrl } = this.options;
    const expiresAt = new Date(clock.now().getTime() + expiresInSeconds * 1000);
    return `${publicUrl()}${path}?${signer.sign(path, expiresAt)}`;
  }

  /** How many seconds the link of a request still works; undefined when it does not, which was answered. */
  admit(request: IncomingMessage, response: ServerResponse, methods = ["GET", "HEAD"]): number | undefined {
    if (!methods.includes(request.method ?? "")) return refuse(response, 405, `Only ${methods.join(" and ")}.`);
    const { signer, clock } = this.options;
    const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
    switch (signer.verify(pathname, searchParams, clock.now())) {
      case "expired":
        return refuse(response, 410, "This link has expired. Query the API for a new one.");
      case "forged":
        return refuse(response, 403, "This link is not valid. Use it as the API gave it.");
      case "valid":
        return Math.floor(Number(searchParams.get("expires")) - clock.now().getTime() / 1000);
    }
  }

  /** Answers an admitted request. A file that breaks off does so without its end: the connection is cut. */
  async send(request: IncomingMessage, response: ServerResponse, { headers, content }: LinkedFile): Promise<void> {
    response.writeHead(200, { ...headers, "x-content-type-options": "nosniff", "access-control-allow-origin": "*" });
    if (request.method === "HEAD") return void response.end();
    try {
      await pipeline(Readable.from(content()), response);
    } catch (err) {
      response.destroy();
      // A client that hangs up in mid-download is not an error of ours.
      if ((err as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE") return;
      const { pathname } = new URL(request.url ?? "", "http://localhost"); // what follows opens the file to anybody
      this.options.logger.error({ err, path: pathname }, "a download broke off");
    }
  }
}

export function refuse(response: ServerResponse, status: number, message: string): undefined {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "access-control-allow-origin": "*",
    ...(status === 503 && { "retry-after": "5" }),
  });
  response.end(`${message}\n`);
}
