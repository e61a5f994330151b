/** Uploads through the public API, as users send them. */
import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { expect } from "vitest";
import type { GraphqlClient } from "./graphql-client.ts";

export type Purpose = "PICTURE" | "BATCH";

export const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export async function createUpload(client: GraphqlClient, purpose: Purpose): Promise<any> {
  const { createUpload: payload } = await client.query(CREATE_UPLOAD, { input: { purpose } });
  expect(payload.userErrors).toEqual([]);
  return payload.target;
}

export async function send(target: any, bytes: Uint8Array): Promise<Response> {
  const headers = Object.fromEntries(target.headers.map(({ name, value }: any) => [name, value]));
  return fetch(target.url, { method: target.method, headers, body: Buffer.from(bytes) });
}

/** A connection on which five bytes of a file were sent that is said to be longer, or shorter. */
export function startSending(target: any, contentLength: number): Socket {
  const { hostname, port, pathname, search } = new URL(target.url);
  const socket = connect(Number(port), hostname).on("error", () => {}); // the server may be killed
  socket.write(`PUT ${pathname}${search} HTTP/1.1\r\nhost: x\r\ncontent-length: ${contentLength}\r\n\r\nxxxxx`);
  return socket;
}

/** The payload of finishUpload. */
export async function finishUpload(client: GraphqlClient, id: string, sha256: string): Promise<any> {
  return (await client.query(FINISH_UPLOAD, { id, sha256 })).finishUpload;
}

/** A finished upload with these bytes. */
export async function upload(client: GraphqlClient, bytes: Uint8Array, purpose: Purpose = "PICTURE"): Promise<any> {
  const target = await createUpload(client, purpose);
  expect((await send(target, bytes)).status).toBe(204);
  const { upload: finished, userErrors } = await finishUpload(client, target.uploadId, sha256Of(bytes));
  expect(userErrors).toEqual([]);
  return finished;
}

export const CREATE_UPLOAD = `mutation($input: CreateUploadInput!) {
  createUpload(input: $input) {
    target { uploadId method url headers { name value } maxBytes expiresAt }
    userErrors { code message path }
  }
}`;

export const UPLOAD = "id purpose status sizeBytes sha256 width height createdAt expiresAt url";

export const FINISH_UPLOAD = `mutation($id: ID!, $sha256: String!) {
  finishUpload(id: $id, sha256: $sha256) { upload { ${UPLOAD} } userErrors { code message path } }
}`;
