/** The files of k8s/, and what their overlays are when kubectl or kustomize has put them together. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseAllDocuments } from "yaml";
import { type Kustomization, kustomizationSchema, type Manifest, manifestSchema } from "./schemas.ts";

const FOLDER = "k8s";
export const OVERLAYS = ["dev", "production"] as const;
const KUSTOMIZATION = "kustomization.yaml";

export interface ManifestFile {
  readonly path: string;
  readonly content: unknown;
}

/** One object each. */
export const listFiles = (): readonly ManifestFile[] =>
  readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".yaml"))
    .sort()
    .map((path) => {
      const file = join(FOLDER, path);
      const [content, ...others] = parse(readFileSync(file, "utf8"));
      if (others.length > 0) throw new Error(`${file} has more than one object`);
      return { path: file, content };
    });

export const isKustomization = ({ path }: ManifestFile): boolean => path.endsWith(`/${KUSTOMIZATION}`);

/** Paths that kustomizations name: of objects, and of what changes objects. */
export function listNamed(files: readonly ManifestFile[]): {
  resources: ReadonlySet<string>;
  patches: ReadonlySet<string>;
} {
  const resources = new Set<string>();
  const patches = new Set<string>();
  for (const { path, content } of files.filter(isKustomization)) {
    const { resources: named = [], components = [], patches: changes = [] } = readKustomization(content);
    const at = (name: string): string => normalize(join(dirname(path), name));
    for (const name of [...named, ...components])
      resources.add(name.endsWith(".yaml") ? at(name) : join(at(name), KUSTOMIZATION));
    for (const change of changes) patches.add(at(change.path));
  }
  return { resources, patches };
}

/** What a kustomization and all that it is made of name, each path once; and the ConfigMaps that it makes of other files. */
export function partsOf(
  path: string,
  files: readonly ManifestFile[],
): {
  readonly resources: readonly string[];
  readonly patches: readonly string[];
  readonly generated: readonly string[];
} {
  const own = files.find((file) => file.path === path);
  const { configMapGenerator = [] } = readKustomization(own?.content);
  const { resources, patches } = listNamed(files.filter((file) => file.path === path));
  const nested = [...resources]
    .filter((name) => name.endsWith(`/${KUSTOMIZATION}`))
    .map((name) => partsOf(name, files));
  const objects = [...resources].filter((name) => !name.endsWith(`/${KUSTOMIZATION}`));
  return {
    resources: [...new Set([...objects, ...nested.flatMap((part) => part.resources)])],
    patches: [...new Set([...patches, ...nested.flatMap((part) => part.patches)])],
    generated: [...configMapGenerator.map(({ name }) => name), ...nested.flatMap((part) => part.generated)],
  };
}

export const readKustomization = (content: unknown): Kustomization => kustomizationSchema.parse(content);

/** What an API would not take of a whole object. */
export function problemsOf(content: unknown): readonly string[] {
  const parsed = manifestSchema.safeParse(content);
  return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** What no API would take of a part of an object: that something is missing is no problem. */
export function problemsOfPatch(content: unknown): readonly string[] {
  const { $patch: _, ...part } = content as Record<string, unknown>;
  const parsed = manifestSchema.safeParse(part, { reportInput: true });
  if (parsed.success) return [];
  return parsed.error.issues
    .filter((issue) => issue.code === "unrecognized_keys" || issue.input !== undefined)
    .map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** Commands, and how they tell a version that does not know components: Debian 12 has kubectl 1.20. */
const RENDERERS = [
  {
    command: ["kubectl", "kustomize"],
    version: ["version", "--client", "-o", "json"],
    tooOld: /"gitVersion": "v1\.(1?\d|20)\./,
  },
  { command: ["kustomize", "build"], version: ["version"], tooOld: /\bv[0-3]\./ },
] as const;

/** The command that puts overlays together; undefined where there is none. */
export const renderer = RENDERERS.find(({ command: [command], version, tooOld }) => {
  const { status, stdout } = spawnSync(command, version, { encoding: "utf8" });
  return status === 0 && !tooOld.test(stdout);
})?.command;

export function render(overlay: string): readonly Manifest[] {
  const [command = "", ...args] = renderer ?? [];
  const { status, stdout, stderr } = spawnSync(command, [...args, join(FOLDER, "overlays", overlay)], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return parse(stdout).map((content) => manifestSchema.parse(content));
}

function parse(text: string): unknown[] {
  return parseAllDocuments(text, { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS();
  });
}
