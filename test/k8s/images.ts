/** The Dockerfile, read: its images, and the stages that they are made of. */
import { readFileSync } from "node:fs";

interface Stage {
  readonly name: string;
  readonly from: string;
  readonly text: string;
}

const stages: readonly Stage[] = readFileSync("docker/Dockerfile", "utf8")
  .split(/^(?=FROM )/m)
  .flatMap((text) => {
    const [, from, name] = /^FROM (\S+) AS (\S+)$/m.exec(text) ?? [];
    return from === undefined || name === undefined ? [] : [{ name, from, text }];
  });

/** Targets; the others are built on the way to them. */
export const IMAGES: readonly string[] = stages.map(({ name }) => name).filter((name) => !/^build\b/.test(name));

/** All that makes an image, the stages that it takes something from first. */
export function textOf(image: string): string {
  const stage = stages.find(({ name }) => name === image);
  if (stage === undefined) return "";
  const sources = [stage.from, ...[...stage.text.matchAll(/--from=(\S+)/g)].map(([, name = ""]) => name)];
  return [...new Set(sources)].map(textOf).join("") + stage.text;
}
