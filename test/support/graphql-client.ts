/** A client of the public API, as users write them. */
import { type Client, createClient } from "graphql-ws";
import { expect } from "vitest";
import WebSocket from "ws";

export interface ApiResult {
  readonly data: any;
  readonly errors?: readonly { message: string; extensions: Record<string, unknown> }[];
}

export class GraphqlClient {
  constructor(
    readonly url: string,
    readonly apiKey?: string,
  ) {}

  /** The answer, whatever it is. */
  async send(query: string, variables: object = {}, signal: AbortSignal | null = null): Promise<ApiResult> {
    const response = await fetch(this.url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(this.apiKey === undefined ? {} : { authorization: `Bearer ${this.apiKey}` }),
      },
      body: JSON.stringify({ query, variables }),
      signal,
    });
    return (await response.json()) as ApiResult;
  }

  /** The data of an answer without errors. */
  async query(query: string, variables: object = {}): Promise<any> {
    const { data, errors } = await this.send(query, variables);
    expect(errors).toBeUndefined();
    return data;
  }

  /** Queues a generation; its id. */
  create(textToImage: object, input: object = {}): Promise<string> {
    return this.createTask({ textToImage }, input);
  }

  async createTask(task: object, input: object = {}): Promise<string> {
    const { createGeneration } = await this.query(CREATE, { input: { ...newTask(task), ...input } });
    expect(createGeneration.userErrors).toEqual([]);
    return createGeneration.generation.id;
  }

  async generation(id: string): Promise<any> {
    return (await this.query(GENERATION, { id })).generation;
  }

  /** Events of a generation until the end, or until the consumer leaves. */
  async *events(id: string, afterSeq = 0): AsyncGenerator<any> {
    const client = this.socket();
    try {
      for await (const { data, errors } of client.iterate<any>({ query: EVENTS, variables: { id, afterSeq } })) {
        if (errors !== undefined) throw errors[0];
        yield data!.generationEvents;
      }
    } finally {
      await client.dispose();
    }
  }

  /** The terminal event. */
  async finished(id: string): Promise<any> {
    for await (const event of this.events(id)) if (event.__typename === "FinishedEvent") return event;
    throw new Error(`the events of ${id} ended without FinishedEvent`);
  }

  socket(): Client {
    return createClient({
      url: this.url.replace("http", "ws"),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: this.apiKey === undefined ? {} : { authorization: `Bearer ${this.apiKey}` },
    });
  }
}

let keys = 0;
export const newTask = (task: object) => ({ idempotencyKey: `${process.pid}-${++keys}`, task });
export const newInput = (textToImage: object) => newTask({ textToImage });

export const CREATE = `mutation($input: CreateGenerationInput!) {
  createGeneration(input: $input) {
    replayed
    generation { id state seq creditsReserved textToImage { prompt seed steps width height count guidanceScale } }
    userErrors { __typename code message path retryable ... on QuotaError { level needed available } }
  }
}`;

export const CANCEL = `mutation($id: ID!) {
  cancelGeneration(id: $id) { generation { id state cancelRequestedAt } userErrors { code message } }
}`;

const GENERATION = `query($id: ID!) {
  generation(id: $id) {
    id state seq creditsReserved creditsCharged startedAt finishedAt
    failure { code message }
    recipe { buildDigest provider threads groupSize }
    attempts { number outcome failureClass message stepsDone checkpointSteps endedAt }
    images { id index width height mimeType sizeBytes sha256 url }
    task answer textToImage { prompt seed steps speed }
    imageEdit { instruction imageId uploadId maskImageId maskUploadId seed count }
    imageVariation { imageId uploadId strength prompt seed count }
    imageToText { question imageId uploadId size maxTokens temperature topP seed }
  }
}`;

const EVENTS = `subscription($id: ID!, $afterSeq: Int!) {
  generationEvents(id: $id, afterSeq: $afterSeq) {
    __typename seq attempt at generationId
    ... on QueuedEvent { message }
    ... on AttemptFailedEvent { failure { code message } willRetry }
    ... on ProgressEvent { frame stage step totalSteps fraction etaMs }
    ... on TextDeltaEvent { frame offset text }
    ... on PreviewEvent { frame index width height mimeType dataBase64 }
    ... on FinishedEvent { state failure { code message } generation { id state creditsCharged images { id sha256 url } } }
  }
}`;
