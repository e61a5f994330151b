/** Execution providers of ONNX Runtime: which there are, which work on this machine, and what is missing where one does not. */
import { env, InferenceSession, listSupportedBackends, Tensor } from "onnxruntime-node";
import { encodeModel } from "../graph/onnx-model.ts";

/** The processor, NVIDIA's CUDA, and WebGPU (through Vulkan, Metal or Direct3D 12). */
export const PROVIDERS = ["cpu", "cuda", "webgpu"] as const;
export type Provider = (typeof PROVIDERS)[number];

export interface ChosenProvider {
  /** What computes: the one that was asked for, or the processor where that one does not work. */
  readonly provider: Provider;
  /** Why it is not the one that was asked for, and what to install. */
  readonly fallback?: string;
}

export async function chooseProvider(wanted: Provider): Promise<ChosenProvider> {
  const problem = wanted === "cpu" ? undefined : await findProviderProblem(wanted);
  if (problem === undefined) return { provider: wanted };
  return { provider: "cpu", fallback: `The provider ${wanted} does not work here, so cpu is used. ${problem}` };
}

/** Computes one small sum. Undefined when that works; otherwise what is missing, and what to install. */
export async function findProviderProblem(provider: Provider): Promise<string | undefined> {
  // A provider that the package does not know would be dropped in silence.
  if (!listSupportedBackends().some(({ name }) => name === provider)) {
    return `ONNX Runtime has no ${provider} for ${process.platform}/${process.arch}.`;
  }
  env.logLevel = "fatal"; // ONNX Runtime would print its own account of a library that is missing
  try {
    const session = await InferenceSession.create(PROBE, { executionProviders: [provider] });
    const { y } = await session.run({ x: new Tensor("float32", Float32Array.of(1, 2), [2]) });
    await session.release();
    return String(y?.data) === "2,4" ? undefined : `It computed 1 + 1 and 2 + 2 as ${String(y?.data)}.`;
  } catch (error) {
    return explainFailure(provider, error instanceof Error ? error.message : String(error));
  }
}

/** x: [2] float32 -> y = x + x */
const PROBE = encodeModel({
  name: "probe",
  nodes: [{ name: "/Add", opType: "Add", domain: "", inputs: ["x", "x"], outputs: ["y"], attributes: {} }],
  initializers: [],
  inputs: [{ name: "x", type: "float32", dims: [2] }],
  outputs: [{ name: "y", type: "float32", dims: [2] }],
});

const INSTALL_CUDA =
  "It needs an NVIDIA GPU with its driver, CUDA 12 and cuDNN 9, and ONNX Runtime's CUDA libraries, which npm does not bring: " +
  "ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js";

/** Recognises the messages of ONNX Runtime 1.30; others are passed on. */
function explainFailure(provider: Provider, message: string): string {
  const reason = message.trim().replace(/^.*\n?.*(?=Failed to get a WebGPU adapter)/, "");
  if (provider === "cuda" && /Failed to load (shared )?library/.test(message)) {
    return `ONNX Runtime's CUDA libraries are not installed, or a library that they need is missing. ${INSTALL_CUDA}`;
  }
  if (provider === "cuda") return `CUDA failed: ${reason}. ${INSTALL_CUDA}`;
  if (provider === "webgpu" && message.includes("Failed to get a WebGPU adapter")) {
    return (
      "WebGPU found no adapter. It needs a GPU with its driver; on Linux also the Vulkan loader " +
      "(Debian, Ubuntu: apt install libvulkan1) and the vendor's Vulkan driver (such as mesa-vulkan-drivers)."
    );
  }
  return `ONNX Runtime said: ${reason}`;
}
