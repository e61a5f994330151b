// Compiles on every change and restarts the server with what was compiled.
import { spawn, spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const { status } = spawnSync(process.execPath, [join(ROOT, "scripts/setup.mjs")], { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

const children = [
  spawn(
    process.execPath,
    [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", ROOT, "--watch", "--preserveWatchOutput"],
    {
      stdio: "inherit",
    },
  ),
  spawn(
    process.execPath,
    [
      "--watch-path",
      join(ROOT, "dist/src"),
      "--watch-path",
      join(ROOT, "dist/inference"),
      "--enable-source-maps",
      join(ROOT, "dist/src/main.js"),
    ],
    {
      stdio: "inherit",
    },
  ),
];
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    for (const child of children) child.kill(signal);
  });
}
for (const child of children) {
  child.on("close", () => {
    for (const other of children) other.kill("SIGTERM");
  });
}
