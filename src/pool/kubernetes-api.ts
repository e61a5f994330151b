/** The little of the Kubernetes API that is needed: reading and watching, as the service account of this pod. */
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createInterface } from "node:readline";

/** The server is asked to end a watch before; one that says nothing for longer is broken. */
const SILENCE_MS = 300_000;
/** For anything but a watch. */
const TIMEOUT_MS = 10_000;

export interface KubernetesApiOptions {
  /** Of the API server, without a trailing slash. */
  readonly url: string;
  /** Holds the token, which is renewed there, and ca.crt; undefined where the server wants neither. */
  readonly accountFolder: string | undefined;
}

export class KubernetesApiError extends Error {
  override readonly name = "KubernetesApiError";

  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export class KubernetesApi {
  constructor(private readonly options: KubernetesApiOptions) {}

  async get(path: string, signal: AbortSignal): Promise<unknown> {
    const response = await this.ask(path, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]), TIMEOUT_MS);
    return JSON.parse(await textOf(response));
  }

  /** The lines of a watch, until the server ends it. */
  async *watch(path: string, signal: AbortSignal): AsyncGenerator<unknown> {
    const response = await this.ask(path, signal, SILENCE_MS);
    try {
      for await (const line of createInterface(response)) if (line !== "") yield JSON.parse(line);
    } finally {
      response.destroy();
    }
  }

  private async ask(path: string, signal: AbortSignal, silenceMs: number): Promise<http.IncomingMessage> {
    const { url, accountFolder } = this.options;
    const { request } = url.startsWith("https:") ? https : http;
    const file = (name: string): string => readFileSync(`${accountFolder}/${name}`, "utf8");
    const headers = accountFolder === undefined ? {} : { authorization: `Bearer ${file("token").trim()}` };
    const ca = accountFolder === undefined ? {} : { ca: file("ca.crt") };
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const asked = request(`${url}${path}`, { headers: { ...headers, accept: "application/json" }, ...ca, signal });
      asked.setTimeout(silenceMs, () => asked.destroy(new Error("The Kubernetes API server says nothing.")));
      asked.on("response", resolve).on("error", reject).end();
    });
    const { statusCode = 0 } = response;
    if (statusCode === 200) return response;
    throw new KubernetesApiError(statusCode, `The Kubernetes API server answered ${statusCode} to ${path}.`);
  }
}

async function textOf(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
