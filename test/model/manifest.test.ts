import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadManifest } from "../../inference/manifest.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

function setup(manifest: string) {
  const folder = join(createFolder(), "model");
  mkdirSync(folder);
  const file = join(folder, "manifest.json");
  writeFileSync(file, manifest);
  return {
    folder,
    file,
    rebuild: `Build the model again: npm run atelier -- model build <checkpoint folder> --out ${folder}`,
  };
}

test.each([0, 1, 2, "two"])(
  "a manifest of the format %j is refused with its format, the readable one and what to do",
  (format) => {
    const { folder, file, rebuild } = setup(JSON.stringify({ format, preset: "tiny" }));
    expect(() => loadManifest(folder)).toThrow(
      new Error(`${file} has format ${JSON.stringify(format)}; this version of Atelier reads format 4. ${rebuild}`),
    );
  },
);

test.each(["{}", "[]", "null", "7"])("a manifest without a format (%s) is refused with what to do", (text) => {
  const { folder, file, rebuild } = setup(text);
  expect(() => loadManifest(folder)).toThrow(
    new Error(`${file} names no format; this version of Atelier reads format 4. ${rebuild}`),
  );
});

test.each(["", '{"format": 4, "preset"'])("a manifest that is no JSON (%j) is refused as damaged", (text) => {
  const { folder, file, rebuild } = setup(text);
  expect(() => loadManifest(folder)).toThrow(new Error(`${file} is damaged: it is not valid JSON. ${rebuild}`));
});

test("a manifest of this format with other fields is refused with their names", () => {
  const { folder, file, rebuild } = setup(JSON.stringify({ format: 4, preset: 7 }));
  const load = (): unknown => loadManifest(folder);
  expect(load).toThrow(
    `${file} does not fit this version of Atelier (preset, dtype: one of float32, int8, float16, bfloat16, digest, `,
  );
  expect(load).toThrow(`, latentPreview). ${rebuild}`);
});
