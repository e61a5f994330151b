/**
 * An inference worker: serves one built model over gRPC until it is told to stop (SIGTERM, after letting its attempts
 * yield) or its parent goes away (standard input closes). It is the client of nothing.
 */
import { setTimeout } from "node:timers/promises";
import { createServer, type Server } from "nice-grpc";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import { InferenceServiceDefinition } from "../proto/gen/inference/v1/inference.ts";
import { endWithStdin, ignoreInterrupt } from "./child.ts";
import { chooseProvider } from "./runtime/provider.ts";
import { slotsFor } from "./runtime/slots.ts";
import { isSmallModel, threadsFor } from "./runtime/threads.ts";
import { Compute } from "./worker/compute.ts";
import { InferenceService } from "./worker/inference-service.ts";
import { createLogger } from "./worker/log.ts";
import { Offer } from "./worker/offer.ts";
import { readSettings, type WorkerSettings } from "./worker/settings.ts";
import { startTracing } from "./worker/tracing.ts";
import { requireToken, serverCredentials } from "./worker/who-may-call.ts";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const FLUSH_TIMEOUT_MS = 5000;

try {
  const settings = readSettings();
  if (settings.endsWithStdin) endWithStdin();
  ignoreInterrupt();
  await serve(settings);
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}

async function serve(settings: WorkerSettings): Promise<void> {
  const { model: modelFolder, listen, healthListen, threads, slots, tokens, tls, logLevel } = settings;
  const logger = createLogger(logLevel);
  const { provider, fallback } = await chooseProvider(settings.provider);
  const stopTracing = settings.isTraced ? await startTracing() : undefined;
  if (fallback !== undefined) logger.warn({ reason: fallback }, "another execution provider is used");
  const computing = {
    modelFolder,
    provider,
    threads: threads ?? threadsFor(modelFolder),
    // Small ones have little to gain: tiny opens in 0.4 s with 30 MiB of anonymous memory, prepared in 0.5 s with 14 MiB.
    prepares: !isSmallModel(modelFolder),
    logLevel,
  };
  const capacity = { slots: slots ?? slotsFor(modelFolder), standby: settings.standby };
  const offer = new Offer(computing, capacity);
  const compute = await Compute.start(computing, (error) => fail(`${error.message} ${String(error.cause)}`));
  const service = new InferenceService(compute, offer, logger, () =>
    fail("An attempt that was given up does not end."),
  );
  const health = HealthState();
  const server = createServer({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    // A caller that is frozen, or whose machine is gone, says nothing: its slots are needed once its leases have run out.
    "grpc.keepalive_time_ms": 5000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  if (tokens === undefined) server.add(InferenceServiceDefinition, service);
  else server.with(requireToken(tokens)).add(InferenceServiceDefinition, service);
  server.add(HealthDefinition, healthService(health));
  const port = await server.listen(listen, tls && serverCredentials(tls));
  const probes = healthListen === undefined ? undefined : await listenForProbes(health, healthListen);
  health.setStatus("healthy");
  logger.info({ listen, provider, slots: capacity.slots }, "listening");
  process.stdout.write(`listening on ${listen.replace(/:0$/, `:${port}`)}\n`);
  let isStopping = false;
  process.on("SIGTERM", async () => {
    if (isStopping) return; // told twice
    isStopping = true;
    health.setStatus("unhealthy");
    logger.info("stopping");
    await service.drain();
    // Callers still have to read what was sent last; one that does not read is not waited for.
    await Promise.race([server.shutdown(), setTimeout(FLUSH_TIMEOUT_MS)]);
    probes?.forceShutdown();
    await stopTracing?.();
    process.exit(0);
  });
}

/** Whoever asks there, such as a kubelet, has no certificate. */
async function listenForProbes(health: HealthState, address: string): Promise<Server> {
  const server = createServer();
  server.add(HealthDefinition, healthService(health));
  await server.listen(address);
  return server;
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
