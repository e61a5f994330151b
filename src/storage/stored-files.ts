/**
 * Answers requests for signed links to stored files: with their bytes, or with a redirect to a short link of the store's own
 * where clients reach it (docs/adr/0005-links-stay-ours.md).
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ImageStore, mediaTypeOf } from "./image-store.ts";
import { refuse, type SignedLinks } from "./signed-links.ts";

export const FILES_PATH = "/files/";
/** Long enough to begin a download; a picture that is deleted is gone anyway. */
const DIRECT_SECONDS = 60;

export interface StoredFilesServices {
  readonly images: ImageStore;
  readonly links: SignedLinks;
}

export class StoredFiles {
  constructor(private readonly services: StoredFilesServices) {}

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { images, links } = this.services;
    const seconds = links.admit(request, response); // as long as the link works
    if (seconds === undefined) return;
    const { pathname } = new URL(request.url ?? "", "http://localhost");
    const key = pathname.slice(FILES_PATH.length);
    // Links of stores are for one method: HEAD is answered here.
    const location =
      request.method === "GET" && (await images.directUrl(key, Math.max(1, Math.min(seconds, DIRECT_SECONDS))));
    if (location) {
      const headers = { location, "cache-control": "no-store", "access-control-allow-origin": "*" };
      return void response.writeHead(307, headers).end();
    }
    const file = await images.getStream(key);
    if (file === undefined) return refuse(response, 404, "This picture was deleted.");
    const headers = {
      "content-type": mediaTypeOf(key),
      "content-length": file.sizeBytes,
      "cache-control": `private, max-age=${seconds}, immutable`,
    };
    try {
      await links.send(request, response, { headers, content: () => file.content });
    } finally {
      file.content.destroy(); // HEAD does not read it
    }
  }
}
