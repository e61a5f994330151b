/** Files that clients send, and send again when nobody says that they arrived. */
import { GraphqlClient } from "../../support/graphql-client.ts";
import { CREATE_UPLOAD, FINISH_UPLOAD, sha256Of } from "../../support/uploads.ts";
import type { Asking } from "./asking.ts";

/** Of files on their way that their sender leaves in the middle, before sending them again; and finished twice at the same time. */
const SHARES = { left: 0.15, twin: 0.2 };

/** @returns the id of a finished upload of these bytes */
export async function uploadInStorm(
  asking: Asking,
  { apiKey, bytes }: { apiKey: string; bytes: Uint8Array },
  random: () => number,
): Promise<string> {
  const input = { purpose: "PICTURE" };
  const { target } = (await asking.insist(apiKey, CREATE_UPLOAD, { input }, random)).createUpload;
  if (random() < SHARES.left) await sendSome(asking, target, bytes, random);
  await asking.untilDone(random, (url, signal) => sendWhole(url, target, bytes, signal));
  const variables = { id: target.uploadId, sha256: sha256Of(bytes) };
  const finish = () => asking.insist(apiKey, FINISH_UPLOAD, variables, random);
  const finished = await Promise.all(random() < SHARES.twin ? [finish(), finish()] : [finish()]);
  for (const { finishUpload } of finished)
    if (finishUpload.upload?.status !== "READY") throw new Error(`an upload is not ready: ${JSON.stringify(finished)}`);
  return target.uploadId;
}

/** True when it was taken. @throws where it was refused for good */
async function sendWhole(api: string, target: any, bytes: Uint8Array, signal: AbortSignal): Promise<true | undefined> {
  const request = { method: target.method, headers: headersOf(target), body: Buffer.from(bytes), signal };
  const response = await fetch(at(api, target.url), request).catch(() => undefined);
  if (response?.status === 204) return true;
  const text = await response?.text().catch(() => undefined);
  if (response !== undefined && response.status < 500)
    throw new Error(`an upload was refused: ${response.status} ${text}`);
  return undefined;
}

async function sendSome(asking: Asking, target: any, bytes: Uint8Array, random: () => number): Promise<void> {
  const leaving = new AbortController();
  const body = new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes.subarray(0, bytes.length / 2));
      leaving.abort();
    },
  });
  const request = { method: target.method, headers: headersOf(target), body, duplex: "half", signal: leaving.signal };
  await asking.untilDone(random, (api) =>
    fetch(at(api, target.url), request as RequestInit).then(
      () => true,
      () => true,
    ),
  );
}

/** The SHA-256 of the picture that is kept of an upload; undefined where it cannot be read. */
export async function keptOf(url: string, apiKey: string, id: string): Promise<string | undefined> {
  const { upload } = await new GraphqlClient(url, apiKey).query("query($id: ID!) { upload(id: $id) { url } }", { id });
  if (upload?.url == null) return undefined;
  const response = await fetch(at(url, upload.url));
  return response.status === 200 ? sha256Of(new Uint8Array(await response.arrayBuffer())) : undefined;
}

/** A link by the API that is asked. */
function at(api: string, link: string): URL {
  const { pathname, search } = new URL(link);
  return new URL(pathname + search, api);
}

const headersOf = (target: any): Record<string, string> =>
  Object.fromEntries(target.headers.map(({ name, value }: any) => [name, value]));
