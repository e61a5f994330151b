/** An image store, and a server that answers its links. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import express, { type RequestHandler } from "express";
import { answerRefusal } from "../../src/api/http-status.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { createLogger } from "../../src/platform/logger.ts";
import type { ImageStore } from "../../src/storage/image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { StoredFiles } from "../../src/storage/stored-files.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";

export async function linkedStore<Store extends ImageStore>(
  clock: Clock,
  create: (links: SignedLinks) => Store,
): Promise<{ store: Store; close(): Promise<void> }> {
  const links = new SignedLinks({
    signer: new UrlSigner({ id: "test", secret: Buffer.alloc(32, 7).toString("base64url") }),
    clock,
    publicUrl: () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    logger: createLogger("silent"),
  });
  const store = create(links);
  const files = new StoredFiles({ images: store, links });
  const app = express();
  const serve: RequestHandler = (request, response, next) => void files.serve(request, response).catch(next);
  app.use(serve, answerRefusal);
  const server = http.createServer(app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    store,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
