/** The command line of a running server. It talks to the public API only, like any other client. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SingleBar } from "cli-progress";
import { Command, InvalidArgumentError } from "commander";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { z } from "zod";

const HERE = dirname(fileURLToPath(import.meta.url));

interface GenerateFlags {
  readonly out: string;
  readonly preset?: string;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly seed?: string;
  readonly credentials: string;
}

const CREATE = /* GraphQL */ `
  mutation Create($input: CreateGenerationInput!) {
    createGeneration(input: $input) {
      generation { id }
      userErrors { message }
    }
  }
`;

const WATCH = /* GraphQL */ `
  subscription Watch($id: ID!, $afterSeq: Int!) {
    generationEvents(id: $id, afterSeq: $afterSeq) {
      __typename
      seq
      ... on ProgressEvent { stage step totalSteps etaMs }
      ... on FinishedEvent { state failure { message } generation { images { url } creditsCharged textToImage { seed } } }
    }
  }
`;

const CANCEL = /* GraphQL */ `
  mutation Cancel($id: ID!) {
    cancelGeneration(id: $id) { userErrors { message } }
  }
`;

const credentialsSchema = z.object({ url: z.url(), apiKey: z.string() });
type Credentials = z.infer<typeof credentialsSchema>;

const createdSchema = z.object({
  createGeneration: z.object({
    generation: z.object({ id: z.string() }).nullable(),
    userErrors: z.array(z.object({ message: z.string() })),
  }),
});

const eventSchema = z.discriminatedUnion("__typename", [
  z.object({ __typename: z.literal("QueuedEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("StartedEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("AttemptFailedEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("PreviewEvent"), seq: z.number() }),
  z.object({
    __typename: z.literal("ProgressEvent"),
    seq: z.number(),
    stage: z.string(),
    step: z.number(),
    totalSteps: z.number(),
    etaMs: z.number().nullable(),
  }),
  z.object({
    __typename: z.literal("FinishedEvent"),
    seq: z.number(),
    state: z.string(),
    failure: z.object({ message: z.string() }).nullable(),
    generation: z.object({
      images: z.array(z.object({ url: z.string() })),
      creditsCharged: z.string().nullable(),
      textToImage: z.object({ seed: z.string() }).nullable(),
    }),
  }),
]);
type Event = z.infer<typeof eventSchema>;
type Finished = Extract<Event, { __typename: "FinishedEvent" }>;

const program = new Command("atelier").description("Draws pictures on a running Atelier server.");

program
  .command("generate")
  .description("draw a picture and write it to a file")
  .argument("<prompt>")
  .requiredOption("--out <file>", "where the picture goes")
  .option("--preset <name>", "the model; may be left out while only one is offered")
  .option("--steps <n>", "MAR steps", number)
  .option("--guidance-scale <scale>", "1 turns guidance off", number)
  .option("--seed <n>", "unsigned, 64 bits; random unless given")
  .option("--credentials <file>", "url and apiKey of the server", defaultCredentials())
  .action(generate);

program
  .command("model")
  .description("build, inspect and run models without a server")
  .allowUnknownOption()
  .helpOption(false)
  .argument("[arguments...]")
  .action((args: string[]) => {
    const child = spawn(process.execPath, [join(HERE, "../inference/cli.js"), ...args], { stdio: "inherit" });
    child.on("close", (code) => {
      process.exitCode = code ?? 1;
    });
  });

async function generate(
  prompt: string,
  { out, credentials: file, preset, steps, guidanceScale, seed }: GenerateFlags,
): Promise<void> {
  const credentials = readCredentials(file);
  const textToImage = { prompt, steps, guidanceScale, seed };
  const input = { idempotencyKey: randomUUID(), preset, task: { textToImage } };
  const { createGeneration } = createdSchema.parse(await request(credentials, CREATE, { input }));
  const id = createGeneration.generation?.id;
  if (id === undefined) throw new Error(createGeneration.userErrors.map(({ message }) => message).join(" "));

  process.once("SIGINT", () => void request(credentials, CANCEL, { id }).finally(() => process.exit(130)));
  const bar = new SingleBar({
    format: "{stage} {bar} step {value}/{total} | ETA {eta}",
    stream: process.stderr,
    hideCursor: true,
  });
  let finished: Finished | undefined;
  bar.start(1, 0, { stage: "queued   ", eta: "?" });
  try {
    for await (const event of watch(credentials, id)) {
      show(bar, event);
      if (event.__typename === "FinishedEvent") finished = event;
    }
  } finally {
    bar.stop();
  }
  const [image] = finished?.generation.images ?? [];
  if (finished === undefined || image === undefined) {
    throw new Error(`The generation ended as ${finished?.state ?? "unknown"}. ${finished?.failure?.message ?? ""}`);
  }
  await download(image.url, out);
  const { textToImage: settings, creditsCharged } = finished.generation;
  console.error(`wrote ${out} (seed ${settings?.seed}, ${creditsCharged} credits)`);
}

function show(bar: SingleBar, event: Event): void {
  if (event.__typename === "ProgressEvent") {
    const eta = event.etaMs === null ? "?" : `${(event.etaMs / 1000).toFixed(1)} s`;
    bar.setTotal(event.totalSteps);
    bar.update(event.step, { stage: event.stage.toLowerCase().padEnd(9), eta });
  } else if (event.__typename === "AttemptFailedEvent") {
    bar.update({ stage: "retrying " });
  }
}

/** Events until the end; after a cut it goes on behind the last event received. */
async function* watch({ url, apiKey }: Credentials, id: string): AsyncGenerator<Event> {
  for (let afterSeq = 0, cuts = 0; ; cuts++) {
    const client = createClient({
      url: url.replace(/^http/, "ws"),
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${apiKey}` },
      retryAttempts: 0,
    });
    try {
      for await (const { data, errors } of client.iterate({ query: WATCH, variables: { id, afterSeq } })) {
        if (errors !== undefined) throw new Error(errors.map(({ message }) => message).join(" "));
        const event = eventSchema.parse(data?.["generationEvents"]);
        afterSeq = event.seq;
        yield event;
        if (event.__typename === "FinishedEvent") return;
      }
    } catch (error) {
      if (error instanceof Error || Array.isArray(error)) throw error;
      if (cuts >= 10) throw new Error("The connection to the server is lost.", { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 500));
    } finally {
      await client.dispose();
    }
  }
}

async function request({ url, apiKey }: Credentials, query: string, variables: object): Promise<unknown> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({ query, variables }),
  }).catch((cause: unknown) => {
    throw new Error(`No server answers at ${url}. Start it with "npm start".`, { cause });
  });
  const { data, errors } = (await response.json()) as { data?: unknown; errors?: { message: string }[] };
  if (errors !== undefined) throw new Error(errors.map(({ message }) => message).join(" "));
  return data;
}

async function download(url: string, file: string): Promise<void> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The picture could not be downloaded: ${await response.text()}`);
  const unfinished = `${file}.${process.pid}.unfinished`;
  await writeFile(unfinished, new Uint8Array(await response.arrayBuffer()));
  await rename(unfinished, file);
}

function readCredentials(file: string): Credentials {
  try {
    return credentialsSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new Error(
      `${file} holds no credentials. Start the server with "npm start", or name the file with --credentials.`,
      { cause },
    );
  }
}

function defaultCredentials(): string {
  // biome-ignore lint/style/noProcessEnv: a client has no other settings
  return resolve(process.env["DATA_DIR"] ?? join(HERE, "../../.atelier"), "credentials.json");
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Give a number.");
  return value;
}

try {
  await program.parseAsync();
} catch (error) {
  const errors = Array.isArray(error) ? error : [error];
  console.error(`atelier: ${errors.map((each: { message?: string }) => each.message ?? String(each)).join(" ")}`);
  process.exitCode = 1;
}
