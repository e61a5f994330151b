/** Opening a graph with ONNX Runtime, the same way everywhere. */
import { InferenceSession } from "onnxruntime-node";
import type { Provider } from "./provider.ts";

export interface Execution {
  /** One that works on this machine: see chooseProvider(). */
  readonly provider: Provider;
  /** Threads of one operator. In a container, set it to the CPUs of the container. */
  readonly threads: number;
}

/** Entries of ONNX Runtime's session configuration, without `session.` in front. */
type SessionEntries = Readonly<Record<string, string>>;

/** Options of ONNX Runtime that only some sessions have. */
export type GraphOptions = Pick<
  InferenceSession.SessionOptions,
  "graphOptimizationLevel" | "optimizedModelFilePath"
> & {
  readonly session?: SessionEntries;
};

export function openGraph(
  file: string,
  { provider, threads }: Execution,
  { session, ...options }: GraphOptions = {},
): Promise<InferenceSession> {
  return InferenceSession.create(file, {
    executionProviders: [provider, ...(provider === "cpu" ? [] : ["cpu"])],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // Threads that spin between operators would take the processor from whoever shares this machine.
    extra: { session: { intra_op: { allow_spinning: "0" }, ...session } },
    logSeverityLevel: 3,
    ...options,
  });
}
