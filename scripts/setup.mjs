// Brings a checkout from nothing to runnable: dependencies, generated code, compiled code. A stamp per step skips what
// has not changed. Plain JavaScript, because it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LOCK = join(ROOT, ".setup.lock");
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Atelier needs Node.js 20.19 or newer; this is ${process.version}. Install a current Node.js and try again.`);
}

const STEPS = [
  {
    name: "generated code",
    inputs: ["prisma/schema.prisma", "proto/inference", "buf.yaml", "buf.gen.yaml", "scripts/generate.mjs"],
    output: "proto/gen/.stamp",
    run: () => command(process.execPath, [join(ROOT, "scripts/generate.mjs")]),
  },
  {
    name: "compiled code",
    inputs: ["tsconfig.json", "src", "inference", "proto", "test", "bench", "vitest.config.ts", "prisma.config.ts"],
    output: "dist/.stamp",
    run: () => command(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", ROOT]),
  },
];

await withLock(() => {
  if (!areDependenciesInstalled()) {
    console.error("atelier: preparing dependencies …");
    command("npm", ["ci", "--no-audit", "--no-fund"]);
  }
  let upstream = digest(["package.json", "package-lock.json"], "");
  for (const step of STEPS) {
    const stamp = join(ROOT, step.output);
    upstream = digest(step.inputs, upstream);
    if (existsSync(stamp) && readFileSync(stamp, "utf8") === upstream) continue;
    console.error(`atelier: preparing ${step.name} …`);
    rmSync(stamp, { force: true });
    step.run();
    mkdirSync(dirname(stamp), { recursive: true });
    writeFileSync(stamp, upstream);
  }
});

/** Whether node_modules is what package-lock.json says, by npm's own record of what it installed last. */
function areDependenciesInstalled() {
  const record = join(ROOT, "node_modules/.package-lock.json");
  if (!existsSync(record)) return false;
  const { packages: wanted } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  const { packages: installed } = JSON.parse(readFileSync(record, "utf8"));
  const required = Object.entries(wanted).filter(([path, { optional }]) => path !== "" && !optional);
  return required.every(([path, { version }]) => installed[path]?.version === version);
}

/** SHA-256 over the paths and contents of the TypeScript, JSON, SQL, proto and Prisma files among `inputs`. */
function digest(inputs, upstream) {
  const hash = createHash("sha256").update(upstream);
  for (const file of inputs.flatMap((input) => listFiles(join(ROOT, input)))) {
    hash.update(`${file}\0`).update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex");
}

function listFiles(path) {
  if (!existsSync(path)) return [];
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || /\.(ts|json|yaml|proto|prisma)$/.test(entry.name))
    .filter((entry) => !["golden", "presets", "train", "node_modules"].includes(entry.name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => listFiles(join(path, entry.name)));
}

/** Two npm commands in one checkout must not install or compile at the same time: the second waits for the first. */
async function withLock(run) {
  for (let announced = false; !tryLock(); announced = true) {
    if (!announced) console.error("atelier: another command is preparing this checkout, waiting for it …");
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  const release = () => rmSync(LOCK, { force: true });
  process.on("exit", release);
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
  run();
}

function tryLock() {
  try {
    writeFileSync(LOCK, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") {
      fail(`Cannot write to ${ROOT} (${error.code}). Run this as a user who owns the checkout, or copy it elsewhere.`);
    }
    if (!isAlive(Number(readFileSync(LOCK, "utf8")))) rmSync(LOCK, { force: true });
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function command(file, args) {
  const { status, signal, error } = spawnSync(file, args, { cwd: ROOT, stdio: ["ignore", 2, 2] });
  if (error) fail(`Could not run ${file}: ${error.message}`);
  if (signal) process.exit(130);
  if (status !== 0) fail(`"${[file, ...args].join(" ")}" failed (exit ${status}); its output is above.`);
}

function fail(message) {
  console.error(`atelier: ${message}`);
  process.exit(1);
}
