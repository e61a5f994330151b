/** A hub on this machine that misbehaves as a test says. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const REPOSITORY = "Skywork/Skywork-UniPic-1.5B";

export interface Misbehaviour {
  /** Called for every download; true when it has answered. */
  answer?: (request: IncomingMessage, response: ServerResponse, content: Buffer) => boolean;
  /** Sizes and digests as the hub announces them, when they are wrong. */
  announce?: (file: { rfilename: string; size: number }) => object;
  token?: string;
}

export async function startHub(contents: Readonly<Record<string, Buffer>>, misbehaviour: Misbehaviour = {}) {
  const requests: { path: string; range: string | undefined }[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "");
    if (misbehaviour.token !== undefined && request.headers.authorization !== `Bearer ${misbehaviour.token}`) {
      return void response.writeHead(401).end();
    }
    if (path.startsWith(`/api/models/${REPOSITORY}/revision/main`)) {
      return void response.end(JSON.stringify({ sha: COMMIT, siblings: siblings(contents, misbehaviour) }));
    }
    const name = path.slice(`/${REPOSITORY}/resolve/${COMMIT}/`.length);
    const content = contents[name];
    if (content === undefined) return void response.writeHead(404).end();
    requests.push({ path: name, range: request.headers.range });
    if (misbehaviour.answer?.(request, response, content)) return;
    serve(request, response, content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

/** As a hub should: ranges included. */
export function serve(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from > 0) response.writeHead(206, { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` });
  response.end(content.subarray(from));
}

function siblings(contents: Readonly<Record<string, Buffer>>, { announce }: Misbehaviour): readonly object[] {
  return Object.entries(contents).map(([rfilename, content]) => {
    const size = content.length;
    const isLarge = /\.(bin|ckpt|safetensors)$/.test(rfilename);
    const git = createHash("sha1").update(`blob ${size}\0`).update(content).digest("hex");
    const lfs = isLarge ? { lfs: { sha256: createHash("sha256").update(content).digest("hex"), size } } : {};
    return { rfilename, size, blobId: git, ...lfs, ...announce?.({ rfilename, size }) };
  });
}
