import { existsSync } from "node:fs";

const CUDA_LIBRARY = "node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so";

/** Whether ONNX Runtime could have CUDA here, and lacks its libraries: npm does not bring them. */
export const HAS_NO_CUDA = process.platform === "linux" && process.arch === "x64" && !existsSync(CUDA_LIBRARY);
