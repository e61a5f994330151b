/** Starts the server, says how to use it, and stops it on a signal. */
import { type App, startApp } from "./app.ts";
import { type Config, loadConfig } from "./platform/config.ts";
import { StartupError } from "./platform/errors.ts";
import { stopSignal } from "./platform/lifecycle.ts";

let stop: AbortSignal | undefined;
try {
  const config = loadConfig();
  stop = stopSignal({ endsWithParent: config.startedByNpm });
  const app = await startApp(config, {}, stop);
  const stopping = new Promise<void>((resolve) => stop?.addEventListener("abort", () => resolve()));
  if (!stop.aborted) await Promise.race([app.ready().then(() => say(greeting(config, app))), stopping]);
  if (!stop.aborted) await stopping;
  say("stopping …");
  await app.stop();
  process.exit(0);
} catch (error) {
  if (stop?.aborted) process.exit(0); // in the middle of the start
  if (!(error instanceof StartupError)) throw error;
  say(`atelier: ${error.message}`);
  process.exit(1);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function greeting({ role, pool }: Config, { credentials, publicUrl }: App): string {
  if (role === "dispatcher") return `\n  Atelier is ready: a dispatcher of the pool ${pool}\n`;
  if (credentials === undefined) return `\n  Atelier is ready at ${publicUrl}/graphql\n`;
  const query =
    'mutation($key: String!) { createGeneration(input: {idempotencyKey: $key, task: {textToImage: {prompt: \\"a red circle at the top left\\"}}}) { generation { id state } userErrors { message } } }';
  const newKey = "$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')"; // for each call, in any POSIX shell
  const curl = `curl -s ${credentials.url} -H 'content-type: application/json' -H 'authorization: Bearer ${credentials.apiKey}' -d '{"query": "${query}", "variables": {"key": "'"${newKey}"'"}}'`;
  return `
  Atelier is ready at ${credentials.url}

  Draw a picture:
    npm run atelier -- generate "a red circle at the top left" --out out.png

  Or queue one with curl:
    ${curl}
`;
}
