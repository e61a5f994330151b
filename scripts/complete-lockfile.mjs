// Completes package-lock.json with the binary packages of other platforms.
//
// Native tools (biome, buf, …) list one optional package per platform. When a registry mirror lacks some of them, `npm
// install` leaves those out of the lock file, and `npm ci` then refuses the lock file everywhere. Run this after every
// `npm install` that changed the lock file; it adds what is missing, by the exact version that the tool asks for.
import { readFileSync, writeFileSync } from "node:fs";

const FILE = new URL("../package-lock.json", import.meta.url);
const OPERATING_SYSTEMS = [
  "android",
  "darwin",
  "freebsd",
  "linux",
  "openharmony",
  "win32",
  "sunos",
  "aix",
  "netbsd",
  "openbsd",
];
const PROCESSORS = {
  aarch64: "arm64",
  arm64: "arm64",
  armv7: "arm",
  arm: "arm",
  x64: "x64",
  ia32: "ia32",
  ppc64: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
  wasm32: "wasm32",
  loong64: "loong64",
};

const lock = JSON.parse(readFileSync(FILE, "utf8"));
let added = 0;
for (const [path, parent] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    if (path === "" || !/^\d/.test(version) || isInstalled(path, name)) continue;
    const words = name.split(/[/-]/);
    const os = words.find((word) => OPERATING_SYSTEMS.includes(word));
    const cpu = words.map((word) => PROCESSORS[word]).find((word) => word !== undefined);
    if (os === undefined || cpu === undefined) continue;
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      ...(parent.dev && { dev: true }),
      optional: true,
      os: [os],
    };
    added++;
  }
}
const [root, ...others] = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries([root, ...others]);
writeFileSync(FILE, `${JSON.stringify(lock, undefined, 2)}\n`);
console.log(`${added} packages added`);

/** Whether the dependency is in the lock file, beside the parent or in a folder above it. */
function isInstalled(path, name) {
  const folders = path
    .split("/node_modules/")
    .map((_, depth, parts) => parts.slice(0, depth + 1).join("/node_modules/"));
  return ["", ...folders.map((folder) => `${folder}/`)].some(
    (folder) => `${folder}node_modules/${name}` in lock.packages,
  );
}
