/** A client of the public API, like any other one. It bridges a server that is away for a while, such as for a restart. */
import { randomUUID } from "node:crypto";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { z } from "zod";
import type { Credentials } from "./credentials.ts";
import { type GenerationEvent, generationEventSchema, WATCH } from "./generation-event.ts";
import { NotNow, Outage, type OutageOptions, Unreachable } from "./outage.ts";
import type { TaskWish } from "./task-wish.ts";

/** What is read of why a mutation was refused: `userErrorsSchema`. */
export const USER_ERRORS = "userErrors { code message retryAfterMs }";

const CREATE = /* GraphQL */ `
  mutation Create($input: CreateGenerationInput!) {
    createGeneration(input: $input) {
      generation { id }
      ${USER_ERRORS}
    }
  }
`;

const REPLAY = /* GraphQL */ `
  mutation Replay($input: ReplayGenerationInput!) {
    replayGeneration(input: $input) {
      generation { id }
      ${USER_ERRORS}
    }
  }
`;

const CANCEL = /* GraphQL */ `
  mutation Cancel($id: ID!) {
    cancelGeneration(id: $id) { ${USER_ERRORS} }
  }
`;

const COUNT = /* GraphQL */ `
  query Count($id: ID!) {
    generation(id: $id) { textToImage { count } imageEdit { count } imageVariation { count } }
  }
`;

export const userErrorsSchema = z.array(
  z.object({ code: z.string(), message: z.string(), retryAfterMs: z.number().nullable() }),
);
const payloadSchema = z.object({ generation: z.object({ id: z.string() }).nullable(), userErrors: userErrorsSchema });
const createdSchema = z.object({ createGeneration: payloadSchema });
const replayedSchema = z.object({ replayGeneration: payloadSchema });
const cancelledSchema = z.object({ cancelGeneration: z.object({ userErrors: userErrorsSchema }) });
const drawingSchema = z.object({ count: z.number() }).nullable();
const countSchema = z.object({
  generation: z
    .object({ textToImage: drawingSchema, imageEdit: drawingSchema, imageVariation: drawingSchema })
    .nullable(),
});
const extensionsSchema = z.object({ code: z.unknown(), retryAfterMs: z.unknown() }).partial();
const answerSchema = z.object({
  data: z.unknown().optional(),
  errors: z.array(z.object({ message: z.string(), extensions: extensionsSchema.optional() })).optional(),
});
/** Of a mutation: its payload, under its name. */
const refusedSchema = z.record(z.string(), z.object({ userErrors: userErrorsSchema }));

/** What a proxy says of a server that is away. */
const GATEWAY_STATUSES = [502, 503, 504];
/** Close codes of graphql-transport-ws: from here on the server refuses the client … */
const REFUSALS = { from: 4400, to: 4498 };
/** … except that it waited too long for the first message. */
const SLOW_START = 4408;

/** Where a file goes. */
export interface SendTarget {
  /** Of the file, for messages. */
  readonly name: string;
  readonly method: string;
  readonly url: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly sizeBytes: number;
}

export class ApiClient {
  private readonly outage: Outage;

  constructor(
    private readonly credentials: Credentials,
    options: OutageOptions,
  ) {
    this.outage = new Outage(options);
  }

  /** Queues a generation. Asks again with the same key when the answer is lost, so that it is queued once. */
  async create(task: TaskWish, preset: string | undefined): Promise<string> {
    const input = { idempotencyKey: randomUUID(), preset, task };
    return idOf((await this.request(createdSchema, CREATE, { input })).createGeneration);
  }

  /** Queues what a generation was asked for once more, as `create` does. */
  async replay(id: string): Promise<string> {
    const input = { idempotencyKey: randomUUID(), id };
    return idOf((await this.request(replayedSchema, REPLAY, { input })).replayGeneration);
  }

  /** Asks a generation to stop; one that has ended stays as it is. */
  async cancel(id: string): Promise<void> {
    await this.request(cancelledSchema, CANCEL, { id });
  }

  /** How many pictures a generation has, or will have. */
  async countPictures(id: string): Promise<number> {
    const { generation } = await this.request(countSchema, COUNT, { id });
    if (generation === null) throw new Error(`There is no generation ${id} that this key may read.`);
    const drawing = generation.textToImage ?? generation.imageEdit ?? generation.imageVariation;
    if (drawing === null)
      throw new Error(`${id} draws no pictures: it is a question. Read its answer with describe --resume.`);
    return drawing.count;
  }

  /** Events from the first to FinishedEvent; after a cut it goes on behind the last event received. */
  async *events(id: string): AsyncGenerator<GenerationEvent> {
    for (let afterSeq = 0; ; ) {
      try {
        for await (const event of this.eventsUntilCut(id, afterSeq)) {
          this.outage.end();
          afterSeq = event.seq;
          yield event;
          if (event.__typename === "FinishedEvent") return;
        }
        throw new Unreachable("the server hung up");
      } catch (error) {
        await this.outage.bridge(error);
      }
    }
  }

  /** The bytes behind a signed link. */
  download(url: string): Promise<Uint8Array> {
    return this.untilAnswered(async () => {
      const response = await fetch(url).catch(rethrowUnreachable);
      if (!response.ok) throw new Error(`The picture at ${url} cannot be downloaded: ${await response.text()}`);
      return new Uint8Array(await response.arrayBuffer().catch(rethrowUnreachable));
    });
  }

  /** Sends bytes to a signed link, and again from the beginning when the connection is lost. */
  send(target: SendTarget, bytes: () => AsyncIterable<Uint8Array>, stop: AbortSignal): Promise<void> {
    const { name, method, url, sizeBytes } = target;
    const headers = { ...Object.fromEntries(target.headers.map((header) => [header.name, header.value])) };
    headers["content-length"] = String(sizeBytes);
    return this.untilAnswered(async () => {
      stop.throwIfAborted();
      const response = await fetch(url, { method, headers, body: bytes(), duplex: "half", signal: stop }).catch(
        (error: unknown) => {
          stop.throwIfAborted();
          rethrowUnreachable(error);
        },
      );
      const reason = await response.text().catch(rethrowUnreachable);
      if (GATEWAY_STATUSES.includes(response.status)) throw new Unreachable(`status ${response.status}`, true);
      if (!response.ok) throw new Error(`${name} was refused: ${reason || `status ${response.status}`}`);
    });
  }

  private async *eventsUntilCut(id: string, afterSeq: number): AsyncGenerator<GenerationEvent> {
    const { url, apiKey } = this.credentials;
    const client = createClient({
      url: url.replace(/^http/, "ws"),
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${apiKey}` },
      retryAttempts: 0,
    });
    try {
      for await (const { data, errors } of client.iterate({ query: WATCH, variables: { id, afterSeq } })) {
        if (errors !== undefined) throw errorOf(errors);
        yield this.understand(generationEventSchema, data?.["generationEvents"]);
      }
    } catch (error) {
      throw asError(error);
    } finally {
      await client.dispose();
    }
  }

  /** The data of an answer, as the schema describes it. */
  async request<T>(schema: z.ZodType<T>, query: string, variables: object): Promise<T> {
    const data = await this.untilAnswered(async () => {
      const answer = await this.post({ query, variables });
      if (answer.errors !== undefined) throw errorOf(answer.errors);
      throwIfNotNow(answer.data);
      return answer.data;
    });
    return this.understand(schema, data);
  }

  private async post(body: object): Promise<z.infer<typeof answerSchema>> {
    const { url, apiKey } = this.credentials;
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${apiKey}` },
      body: JSON.stringify(body),
    }).catch(rethrowUnreachable);
    const text = await response.text().catch(rethrowUnreachable);
    try {
      return answerSchema.parse(JSON.parse(text));
    } catch (cause) {
      if (GATEWAY_STATUSES.includes(response.status)) throw new Unreachable(`status ${response.status}`, true);
      throw new Error(
        `${url} answers with status ${response.status}, but not as an Atelier server does. Check "url" in ${this.credentials.file}; it ends in /graphql.`,
        { cause },
      );
    }
  }

  /** Patience is for servers that have been there: the first call to one that is not says so at once. */
  private async untilAnswered<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const answer = await call();
        this.outage.end();
        return answer;
      } catch (error) {
        if (error instanceof Unreachable && error.isUntouched && !this.outage.hasBeenUp && !this.outage.isOn) {
          const { url, file } = this.credentials;
          throw new Error(
            `No server answers at ${url} (${error.message}). Start it with "npm start", or check "url" in ${file}.`,
            { cause: error },
          );
        }
        await this.outage.bridge(error);
      }
    }
  }

  private understand<T>(schema: z.ZodType<T>, value: unknown): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new Error(`The answer of ${this.credentials.url} is not understood. Is the server of another version?`, {
      cause: parsed.error,
    });
  }
}

const sentence = (errors: readonly { message: string }[]): string => errors.map(({ message }) => message).join(" ");

type Refusals = readonly {
  readonly message: string;
  readonly extensions?: { readonly code?: unknown; readonly retryAfterMs?: unknown } | undefined;
}[];

/** Of errors in an answer. What a server cannot do for a while is asked for again, as if it did not answer. */
function errorOf(errors: Refusals): Error {
  const isForAWhile = errors.every(({ extensions }) => extensions?.code === "UNAVAILABLE");
  if (!isForAWhile) return new Error(sentence(errors));
  const pauses = errors.flatMap(({ extensions }) =>
    typeof extensions?.retryAfterMs === "number" ? [extensions.retryAfterMs] : [],
  );
  return new NotNow(sentence(errors), pauses.length === 0 ? undefined : Math.max(...pauses));
}

/** The same of a mutation that was refused in its payload. */
function throwIfNotNow(data: unknown): void {
  const refused = refusedSchema.safeParse(data);
  const errors = Object.values(refused.data ?? {}).flatMap(({ userErrors }) => userErrors);
  const error = errorOf(errors.map(({ message, ...extensions }) => ({ message, extensions })));
  if (errors.length > 0 && error instanceof NotNow) throw error;
}

/** @param error what fetch rejects with; the reason is in its cause */
function rethrowUnreachable(error: unknown): never {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
  const isUntouched = code !== "ECONNRESET" && code !== "EPIPE" && code !== "UND_ERR_SOCKET";
  const reason = cause instanceof Error ? cause.message || code : undefined; // of several addresses: no message
  throw new Unreachable(reason ?? String(error), isUntouched);
}

/** What graphql-ws rejects with: errors of the operation, an event of the socket, or an error of its own. */
function asError(error: unknown): Error {
  if (error instanceof Error) return error;
  if (Array.isArray(error)) return errorOf(error);
  const { code, reason, message } = socketEventSchema.parse(error);
  if (code !== undefined && code >= REFUSALS.from && code <= REFUSALS.to && code !== SLOW_START)
    return new Error(`The server closed the connection: ${reason || `code ${code}`}`);
  return new Unreachable(reason || message || "the server hung up");
}

const socketEventSchema = z.object({
  code: z.number().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
});

function idOf({ generation, userErrors }: z.infer<typeof payloadSchema>): string {
  if (generation === null) throw new Error(sentence(userErrors));
  return generation.id;
}
