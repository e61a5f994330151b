/**
 * An inference worker: serves one built model over gRPC until it is told to stop (SIGTERM, after letting its attempts
 * yield) or its parent goes away (standard input closes).
 */
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createServer } from "nice-grpc";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import { InferenceServiceDefinition } from "../proto/gen/inference/v1/inference.ts";
import { endWithStdin, ignoreInterrupt } from "./child.ts";
import { chooseProvider, PROVIDERS, type Provider } from "./runtime/provider.ts";
import { slotsFor } from "./runtime/slots.ts";
import { isSmallModel, threadsFor } from "./runtime/threads.ts";
import { Compute } from "./worker/compute.ts";
import { InferenceService } from "./worker/inference-service.ts";
import { Offer } from "./worker/offer.ts";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const FLUSH_TIMEOUT_MS = 5000;

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    listen: { type: "string" },
    provider: { type: "string", default: "cpu" },
    threads: { type: "string" },
    slots: { type: "string" },
    standby: { type: "string", default: "1" },
    "ends-with-stdin": { type: "boolean", default: false },
  },
});
const { model, listen } = values;
if (model === undefined || listen === undefined)
  fail(
    "usage: --model <model folder> --listen <unix:/path or host:port> [--provider name] [--threads n] [--slots n] [--standby 0|1]",
  );

if (values["ends-with-stdin"]) endWithStdin();
ignoreInterrupt();

try {
  await serve(model, listen);
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}

async function serve(modelFolder: string, address: string): Promise<void> {
  const { provider, fallback } = await chooseProvider(parseProvider(values.provider));
  if (fallback !== undefined) process.stderr.write(`worker: ${fallback}\n`);
  const settings = {
    modelFolder,
    provider,
    threads: values.threads === undefined ? threadsFor(modelFolder) : Number(values.threads),
    // Small ones have little to gain: tiny opens in 0.4 s with 30 MiB of anonymous memory, prepared in 0.5 s with 14 MiB.
    prepares: !isSmallModel(modelFolder),
  };
  const slots = values.slots === undefined ? slotsFor(modelFolder) : Number(values.slots);
  const offer = new Offer(settings, { slots, standby: values.standby === "0" ? 0 : 1 });
  const compute = await Compute.start(settings, (error) => fail(`${error.message} ${String(error.cause)}`));
  const service = new InferenceService(compute, offer);
  const health = HealthState();
  const server = createServer({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  });
  server.add(InferenceServiceDefinition, service);
  server.add(HealthDefinition, healthService(health));
  await server.listen(address);
  health.setStatus("healthy");
  process.stdout.write(`listening on ${address}\n`);
  process.once("SIGTERM", async () => {
    health.setStatus("unhealthy");
    await service.drain();
    // Callers still have to read what was sent last; one that does not read is not waited for.
    await Promise.race([server.shutdown(), setTimeout(FLUSH_TIMEOUT_MS)]);
    process.exit(0);
  });
}

function parseProvider(name: string): Provider {
  const provider = PROVIDERS.find((known) => known === name);
  return provider ?? fail(`--provider ${name}: there is no such provider. Give one of ${PROVIDERS.join(", ")}.`);
}

/** A watch ends when the worker has said that it stops, so that the connection can close. */
function healthService(state: HealthState): HealthServiceImpl {
  const { check, watch } = HealthServiceImpl(state);
  return {
    check,
    async *watch(request, context) {
      for await (const response of watch(request, context)) {
        yield response;
        if (state.getStatus(request.service) === "unhealthy") return;
      }
    },
  };
}

function fail(message: string): never {
  process.stderr.write(`worker: ${message}\n`);
  process.exit(1);
}
