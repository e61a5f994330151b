// Import direction. Each folder may import itself and the folders listed for it; anything else fails the check.
// src/*.ts (main, app, cli) and inference/*.ts (main, cli) have rules of their own below.
const MAY_IMPORT = {
  "src/platform": [],
  "src/audit": ["src/platform"],
  "src/auth": ["src/audit", "src/platform"],
  "src/tenancy": ["src/audit", "src/auth", "src/platform"],
  "src/quota": ["src/audit", "src/auth", "src/storage", "src/tenancy", "src/platform"],
  "src/moderation": ["src/audit", "src/auth", "src/tenancy", "src/platform"],
  "src/storage": ["src/platform"],
  "src/progress": ["src/platform"],
  "src/upload": ["src/auth", "src/storage", "src/platform"],
  "src/generation": [
    "src/auth",
    "src/moderation",
    "src/quota",
    "src/progress",
    "src/storage",
    "src/tenancy",
    "src/upload",
    "src/platform",
  ],
  "src/pool": ["src/auth", "src/platform", "proto/gen"],
  "src/scheduler": [
    "src/generation",
    "src/quota",
    "src/pool",
    "src/progress",
    "src/storage",
    "src/upload",
    "src/platform",
  ],
  "src/webhook": ["src/generation", "src/auth", "src/storage", "src/platform"],
  "src/openai": ["src/generation", "src/auth", "src/storage", "src/platform"],
  "src/cli": [],
  "src/generated": [],
  "inference/worker": ["inference/pipelines", "inference/runtime/provider.ts", "proto/gen"],
  "inference/pipelines": [
    "inference/sampling",
    "inference/runtime",
    "inference/tokenizer",
    "inference/image",
    "inference/manifest.ts",
  ],
  "inference/commands": [
    "inference/build-model.ts",
    "inference/child.ts",
    "inference/doctor",
    "inference/eval",
    "inference/hub",
    "inference/image",
    "inference/manifest.ts",
    "inference/pipelines",
    "inference/runtime",
    "inference/sampling",
  ],
  "inference/doctor": [
    "inference/graph",
    "inference/image",
    "inference/manifest.ts",
    "inference/pipelines",
    "inference/runtime",
  ],
  "inference/hub": [],
  "inference/eval": ["inference/pipelines", "inference/sampling", "inference/image"],
  "inference/sampling": [],
  "inference/runtime": ["inference/graph/onnx-model.ts", "inference/manifest.ts", "inference/unfinished-folder.ts"],
  "inference/tokenizer": [],
  "inference/image": [],
  "inference/graph": [],
  "inference/checkpoint": [],
  "inference/model": ["inference/graph", "inference/checkpoint", "inference/manifest.ts"],
  "inference/manifest.ts": [],
  "inference/unfinished-folder.ts": [],
  "proto/gen": [],
  client: [],
  web: ["client"],
};

const escapePath = (path) => path.replaceAll("/", "\\/").replaceAll(".", "\\.");
const inside = (path) => (path.endsWith(".ts") ? `^${escapePath(path)}$` : `^${escapePath(path)}\\/`);
const OURS = "^(src|inference|proto|web|client|test|bench)\\/";

export default {
  forbidden: [
    { name: "no-circular", severity: "error", from: { pathNot: "^src\\/generated\\/" }, to: { circular: true } },
    {
      name: "no-unresolvable",
      severity: "error",
      from: {},
      to: { couldNotResolve: true, pathNot: "schema_engine_bg" },
    },
    ...Object.entries(MAY_IMPORT).map(([path, allowed]) => ({
      name: `direction: ${path}`,
      severity: "error",
      from: { path: inside(path) },
      // Who may use the generated Prisma client is a rule of its own, below.
      to: { path: OURS, pathNot: [path, ...allowed, "src/generated"].map(inside) },
    })),
    {
      name: "src-and-inference-meet-only-in-the-proto",
      severity: "error",
      from: { path: "^src\\/" },
      to: { path: "^(inference|test|bench|web|client)\\/" },
    },
    {
      name: "inference-never-imports-src",
      severity: "error",
      from: { path: "^inference\\/" },
      to: { path: "^(src|test|bench|web|client)\\/" },
    },
    {
      name: "the-command-line-client-knows-only-the-public-api",
      severity: "error",
      from: { path: "^src\\/cli\\.ts$" },
      to: { path: OURS, pathNot: "^src\\/(cli\\/|platform\\/(config|lifecycle)\\.ts$)" },
    },
    {
      name: "prisma-client-only-in-database-stores-and-enum-registration",
      severity: "error",
      from: {
        path: "^src\\/",
        pathNot:
          "(\\.store\\.ts|\\.type\\.ts|\\.input\\.ts|^src\\/platform\\/database[a-z-]*\\.ts)$|^src\\/generated\\/",
      },
      to: { path: "^src\\/generated\\/", dependencyTypesNot: ["type-only"] },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] },
    doNotFollow: { path: ["node_modules", "^dist"] },
    exclude: { path: "^dist\\/" },
  },
};
