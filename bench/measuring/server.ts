/** A server as users run it, for benches that ask what users do. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const ROOT = join(import.meta.dirname, "../../..");
/** Of Linux, on every architecture: the unit of times in /proc. */
const TICK_MS = 10;

export class Server {
  private constructor(
    private readonly child: ChildProcess,
    private readonly dataDir: string,
  ) {}

  /** Resolves when generations can be asked for. */
  static async start(dataDir: string, environment: NodeJS.ProcessEnv = {}): Promise<Server> {
    const child = spawn(process.execPath, [join(ROOT, "dist/src/main.js")], {
      env: { ...process.env, PORT: "0", DATA_DIR: dataDir, ...environment },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let output = "";
    while (!output.includes("is ready")) {
      output += await new Promise<string>((resolve, reject) => {
        child.stderr.once("data", (chunk) => resolve(String(chunk)));
        child.once("close", () => reject(new Error(`the server did not start:\n${output}`)));
      });
    }
    child.stderr.resume();
    return new Server(child, dataDir);
  }

  async stop(): Promise<void> {
    this.child.kill("SIGTERM");
    await new Promise((resolve) => this.child.once("close", resolve));
  }

  /** The data of an answer without errors. */
  async request<Data>(query: string, variables: object = {}): Promise<Data> {
    const { url, apiKey } = this.credentials();
    const headers = { "content-type": "application/json", authorization: `Bearer ${apiKey}` };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
    const { data, errors } = (await response.json()) as { data: Data; errors?: unknown };
    if (errors !== undefined) throw new Error(JSON.stringify(errors));
    return data;
  }

  /** Queues a drawing; its id. */
  async create(textToImage: object, input: object = {}): Promise<string> {
    const { createGeneration } = await this.request<{ createGeneration: { generation: { id: string } } }>(
      "mutation($input: CreateGenerationInput!) { createGeneration(input: $input) { generation { id } } }",
      { input: { idempotencyKey: String(Math.random()), task: { textToImage }, ...input } },
    );
    return createGeneration.generation.id;
  }

  /** The kinds of a generation's events as they come, until its end. */
  async *events(id: string): AsyncGenerator<string> {
    const { url, apiKey } = this.credentials();
    const client = createClient({
      url: url.replace("http", "ws"),
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${apiKey}` },
    });
    const query =
      "subscription($id: ID!) { generationEvents(id: $id) { __typename ... on ProgressEvent { step } ... on PreviewEvent { dataBase64 } } }";
    const events = client.iterate<{ generationEvents: { __typename: string } }>({ query, variables: { id } });
    for await (const { data } of events) if (data) yield data.generationEvents.__typename;
    await client.dispose();
  }

  /** CPU time of the server and its workers so far; 0 where there is no /proc. */
  cpuMs(): number {
    try {
      const { pid = 0 } = this.child;
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
      return [String(pid), ...children].reduce((sum, each) => sum + ticksOf(each) * TICK_MS, 0);
    } catch {
      return 0;
    }
  }

  private credentials(): { url: string; apiKey: string } {
    const file = join(this.dataDir, "credentials.json");
    return JSON.parse(readFileSync(file, "utf8")) as { url: string; apiKey: string };
  }
}

/** utime + stime of /proc/<pid>/stat, which follow the name in parentheses. */
function ticksOf(pid: string): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
