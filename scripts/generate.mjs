// Generates what is not committed: the Prisma client and the gRPC code.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

run([require.resolve("prisma/build/index.js"), "generate"], {
  // `prisma generate` needs only its WASM parts; any existing file stops it from downloading the native schema engine.
  PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
  PRISMA_HIDE_UPDATE_MESSAGE: "1",
  CHECKPOINT_DISABLE: "1",
});
run([require.resolve("@bufbuild/buf/bin/buf"), "generate"], {
  PATH: `${join(ROOT, "node_modules/.bin")}:${process.env.PATH}`,
});

function run(args, env) {
  const { status } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...env },
  });
  if (status !== 0) process.exit(status ?? 1);
}
