// Leaves only what runs: of dist the files that lead from the given entries, of node_modules the packages that these import.
// usage: node scripts/prune-image.mjs [--list] <compiled entry> …; with --list it deletes nothing, and prints the packages
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MODULES = join(ROOT, "node_modules");
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*|\bnew URL\(\s*)"([^"]+)"/g;

const args = process.argv.slice(2);
const isList = args[0] === "--list";
const files = new Set();
const packages = new Set();

for (const entry of isList ? args.slice(1) : args) addFile(resolve(ROOT, entry));
const unused = listPackages().filter((path) => !packages.has(path));
if (isList)
  console.log(
    [...packages]
      .map((path) => relative(MODULES, path))
      .sort()
      .join("\n"),
  );
else prune();

function addFile(path) {
  if (files.has(path) || !existsSync(path)) return;
  files.add(path);
  for (const [, name] of readFileSync(path, "utf8").matchAll(IMPORT)) {
    if (name.startsWith(".")) addFile(resolve(dirname(path), name));
    else if (!name.includes(":")) addPackage(nameOf(name), ROOT);
  }
}

/** With what it needs; what it could use, and is not there, is not missed. */
function addPackage(name, from) {
  const path = find(name, from);
  if (path === undefined || packages.has(path)) return;
  packages.add(path);
  const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = readManifest(path);
  const peers = Object.keys(peerDependencies ?? {}).filter((peer) => !peerDependenciesMeta?.[peer]?.optional);
  for (const needed of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers])
    addPackage(needed, path);
}

/** As Node.js looks for it: beside the one that asks, and then further out. */
function find(name, from) {
  for (let folder = from; folder.startsWith(ROOT); folder = dirname(folder)) {
    const path = join(folder, "node_modules", name);
    if (existsSync(join(path, "package.json"))) return path;
  }
  return undefined;
}

function readManifest(path) {
  return JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
}

function nameOf(specifier) {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Those that lie in node_modules itself. */
function listPackages() {
  return readdirSync(MODULES).flatMap((name) => {
    if (name.startsWith(".")) return [];
    if (!name.startsWith("@")) return [join(MODULES, name)];
    return readdirSync(join(MODULES, name)).map((inner) => join(MODULES, name, inner));
  });
}

function prune() {
  // A package that has one of these inside stays, too.
  const kept = [...packages];
  for (const path of unused) if (!kept.some((other) => other.startsWith(`${path}/`))) rmSync(path, { recursive: true });
  rmSync(join(MODULES, ".bin"), { recursive: true, force: true });
  pruneRuntime(join(MODULES, "onnxruntime-node/bin"));
  for (const entry of readdirSync(join(ROOT, "dist"), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !files.has(path.replace(/\.map$/, ""))) rmSync(path);
  }
}

/** ONNX Runtime comes with libraries for every system: <version>/<platform>/<architecture>. */
function pruneRuntime(folder) {
  if (!existsSync(folder)) return;
  for (const version of readdirSync(folder)) {
    for (const platform of readdirSync(join(folder, version))) {
      for (const architecture of readdirSync(join(folder, version, platform))) {
        if (platform !== process.platform || architecture !== process.arch)
          rmSync(join(folder, version, platform, architecture), { recursive: true });
      }
    }
  }
}
