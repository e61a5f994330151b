/** The manifests, without a cluster. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { IMAGES, textOf } from "./images.ts";
import {
  isKustomization,
  listFiles,
  listNamed,
  OVERLAYS,
  partsOf,
  problemsOf,
  problemsOfPatch,
  readKustomization,
  render,
  renderer,
} from "./manifests.ts";
import { findProblems, sourceOf } from "./references.ts";
import { type Manifest, manifestSchema, type Of } from "./schemas.ts";

const files = listFiles();
const { resources, patches } = listNamed(files);
const contentAt = (path: string): unknown => files.find((file) => file.path === path)?.content;
const objects = files.filter((file) => !isKustomization(file) && !patches.has(file.path));

describe("the files of k8s", () => {
  test("are all named by a kustomization, and all that are named are there", () => {
    const named = new Set([...resources, ...patches]);
    const roots = OVERLAYS.map((overlay) => `k8s/overlays/${overlay}/kustomization.yaml`);
    expect(files.map(({ path }) => path).filter((path) => !named.has(path) && !roots.includes(path))).toEqual([]);
    expect([...named].filter((path) => !existsSync(path))).toEqual([]);
  });

  test("have nothing that the API server would refuse", () => {
    for (const { path, content } of files.filter(isKustomization))
      expect(() => readKustomization(content), path).not.toThrow();
    for (const { path, content } of objects) expect(problemsOf(content), path).toEqual([]);
    for (const { path, content } of files.filter(({ path }) => patches.has(path)))
      expect(problemsOfPatch(content), path).toEqual([]);
  });

  test("agree with one another, and with the programs that they run", () => {
    const manifests = objects.map(({ content }) => manifestSchema.parse(content));
    const production = files.find(({ path }) => path === "k8s/overlays/production/settings-configmap.yaml")!;
    expect(findProblems([...manifests, production.content as Manifest])).toEqual([]);
  });

  test("are named after what they hold", () => {
    for (const { path, content } of objects) {
      const { kind, metadata } = manifestSchema.parse(content);
      expect(path.endsWith(`-${kind.toLowerCase()}.yaml`), path).toBe(true);
      expect(metadata.labels, path).toMatchObject({ "app.kubernetes.io/part-of": "atelier" });
    }
  });
});

describe.skipIf(renderer === undefined).each(OVERLAYS)(
  "the overlay %s (needs kubectl 1.21 or kustomize 4)",
  (overlay) => {
    test("is whole, and agrees with itself and with the programs that it runs", () => {
      const manifests = render(overlay);
      expect(manifests.length).toBeGreaterThan(20);
      expect(findProblems(manifests)).toEqual([]);
    });

    test("has every object of what it is made of, once, but for those that it deletes", () => {
      const idOf = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.name}`;
      const ids = render(overlay).map(idOf);
      const deleted = (path: string): boolean => (contentAt(path) as { $patch?: string }).$patch === "delete";
      const made = partsOf(`k8s/overlays/${overlay}/kustomization.yaml`, files);
      const gone = made.patches.filter(deleted).map((path) => idOf(contentAt(path) as Manifest));
      const wanted = made.resources.map((path) => idOf(contentAt(path) as Manifest)).filter((id) => !gone.includes(id));
      expect(ids.sort()).toEqual([...wanted, ...made.generated.map((name) => `ConfigMap ${name}`)].sort());
    });

    test("runs images of the Dockerfile, all of one version, and the settings of its patches", () => {
      const manifests = render(overlay);
      const versions = new Set(JSON.stringify(manifests).match(/(?<=atelier\/(api|worker-cpu|worker-cuda):)[^"]+/g));
      expect(versions.size).toBe(1);
      const { patches } = partsOf(`k8s/overlays/${overlay}/kustomization.yaml`, files);
      for (const path of patches.filter((name) => name.endsWith("-configmap.yaml"))) {
        const { metadata, data } = contentAt(path) as Of<"ConfigMap">;
        const rendered = manifests.find(
          ({ kind, metadata: { name } }) => kind === "ConfigMap" && name === metadata.name,
        );
        expect(rendered, path).toMatchObject({ data });
      }
    });
  },
);

/** As a cluster gets them, where there is something that puts them together; otherwise as they are written. */
describe("what is wrong is found:", () => {
  const manifests =
    renderer === undefined ? objects.map(({ content }) => manifestSchema.parse(content)) : render("production");
  /** Of the manifests with one that a change made different. */
  const problemsAfter = (kind: Manifest["kind"], name: string, change: (manifest: any) => void): readonly string[] => {
    const changed = structuredClone(manifests) as Manifest[];
    change(changed.find((manifest) => manifest.kind === kind && manifest.metadata.name === name));
    const before = findProblems(manifests);
    return findProblems(changed).filter((problem) => !before.includes(problem));
  };
  const firstContainer = (manifest: any) => manifest.spec.template.spec.containers[0];
  const settingOf = (manifest: any, wanted: string) =>
    firstContainer(manifest).env.find(({ name }: { name: string }) => name === wanted);

  test("fields that nobody knows, also in patches", () => {
    const deployment = structuredClone(
      objects.find(({ path }) => path.endsWith("/api-deployment.yaml"))!.content,
    ) as any;
    firstContainer(deployment).imaje = "x";
    expect(problemsOf(deployment)).toEqual([expect.stringContaining('"imaje"')]);
    expect(problemsOfPatch({ ...deployment, spec: { replicsa: 3 } })).toEqual([expect.stringContaining('"replicsa"')]);
    expect(problemsOfPatch({ ...deployment, spec: { replicas: "3" } })).toEqual([expect.stringContaining("replicas")]);
  });

  test.each<[string, Manifest["kind"], string, (manifest: any) => void, RegExp]>([
    [
      "a selector of other pods",
      "Deployment",
      "api",
      (it) => {
        it.spec.selector.matchLabels = { a: "b" };
      },
      /selector is not/,
    ],
    [
      "a service without pods",
      "Service",
      "inference",
      (it) => {
        it.spec.selector = { a: "b" };
      },
      /leads to no pod/,
    ],
    [
      "a service to no port",
      "Service",
      "api",
      (it) => {
        it.spec.ports[0].targetPort = "web";
      },
      /no port web/,
    ],
    [
      "a setting that nobody reads",
      "Deployment",
      "api",
      (it) => {
        firstContainer(it).env.push({ name: "ROLL", value: "api" });
      },
      /nobody reads ROLL/,
    ],
    [
      "a setting with a wrong value",
      "Deployment",
      "dispatcher",
      (it) => {
        settingOf(it, "ROLE").value = "both";
      },
      /ROLE: Give one of/,
    ],
    [
      "a setting of no worker",
      "Deployment",
      "inference",
      (it) => {
        firstContainer(it).env.push({ name: "DATABASE_URL", value: "x" });
      },
      /nobody reads DATABASE_URL/,
    ],
    [
      "the login that owns the database, in a server",
      "Deployment",
      "dispatcher",
      (it) => {
        const { valueFrom } = settingOf(it, "DATABASE_URL");
        const secretKeyRef = { ...valueFrom.secretKeyRef, key: "DATABASE_MIGRATION_URL" };
        firstContainer(it).env.push({ name: "DATABASE_MIGRATION_URL", valueFrom: { secretKeyRef } });
      },
      /has the login of the owner/,
    ],
    [
      "a probe of what is not served",
      "Deployment",
      "api",
      (it) => {
        firstContainer(it).livenessProbe.httpGet.path = "/alive";
      },
      /nothing is served at \/alive/,
    ],
    [
      "a probe of another port",
      "Deployment",
      "inference",
      (it) => {
        firstContainer(it).readinessProbe.grpc.port = 50051;
      },
      /no health service at 50051/,
    ],
    [
      "a program that is not there",
      "Job",
      "migrate",
      (it) => {
        firstContainer(it).command[2] = "dist/src/migrant.js";
      },
      /there is no src\/migrant.ts/,
    ],
    [
      "a volume that is not there",
      "Deployment",
      "api",
      (it) => {
        it.spec.template.spec.volumes.pop();
      },
      /no volume tmp/,
    ],
    [
      "a policy for no port",
      "NetworkPolicy",
      "inference",
      (it) => {
        it.spec.ingress[0].ports[0].port = 1;
      },
      /nobody listens on 1/,
    ],
    [
      "a file that is in no volume",
      "Deployment",
      "inference",
      (it) => {
        settingOf(it, "MODEL_DIR").value = "/model";
      },
      /MODEL_DIR is in no volume/,
    ],
    [
      "a metric that nobody tells",
      "ScaledObject",
      "inference",
      (it) => {
        it.spec.triggers[0].metadata.query = "atelier_queue";
      },
      /nobody tells atelier_queue/,
    ],
    [
      "a role that is not there",
      "RoleBinding",
      "dispatcher",
      (it) => {
        it.roleRef.name = "x";
      },
      /no such role/,
    ],
  ])("%s", (_, kind, name, change, problem) => {
    expect(problemsAfter(kind, name, change).join("\n")).toMatch(problem);
  });
});

describe("images", () => {
  test.each(IMAGES)("of %s are made of files that are there, and start a program that is there", (name) => {
    const text = textOf(name);
    for (const [, paths = ""] of text.matchAll(/^COPY (?!--from)(.+) \S+$/gm))
      for (const path of paths.split(" ")) expect(existsSync(path), path).toBe(true);
    const programs = text.match(/dist\/\S+\.js/g) ?? [];
    expect(programs.length).toBeGreaterThan(1);
    for (const program of programs) expect(existsSync(sourceOf(program)), program).toBe(true);
    expect(text).toMatch(/^USER 1000$/m);
  });

  test("have the packages that their programs import, and no others", () => {
    const packagesOf = (name: string): readonly string[] => {
      const [, entries = ""] = /prune-image\.mjs (.*)/.exec(textOf(name)) ?? [];
      const listed = spawnSync(process.execPath, ["scripts/prune-image.mjs", "--list", ...entries.split(" ")], {
        encoding: "utf8",
      });
      return listed.stdout.trim().split("\n");
    };
    expect(IMAGES).toEqual(["api", "worker-cpu", "worker-cuda"]);
    const [api, worker] = [packagesOf("api"), packagesOf("worker-cpu")];
    expect(packagesOf("worker-cuda")).toEqual(worker);
    expect(api).toEqual(
      expect.arrayContaining(["@apollo/server", "@prisma/client", "graphql-ws", "nice-grpc", "pg", "sharp"]),
    );
    expect(worker).toEqual(
      expect.arrayContaining(["@huggingface/tokenizers", "nice-grpc", "onnxruntime-node", "sharp", "zod"]),
    );
    expect(api).not.toContain("onnxruntime-node");
    for (const name of [
      "@prisma/client",
      "@apollo/server",
      "graphql",
      "pg",
      "@electric-sql/pglite",
      "typescript",
      "vitest",
    ])
      expect(worker).not.toContain(name);
  });
});
