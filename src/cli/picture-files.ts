/** Where pictures go. Everything that can be wrong with a place is found before a picture is paid for. */
import { existsSync, renameSync, rmSync, type Stats, statSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, parse, resolve } from "node:path";
import { systemReason } from "./system-reason.ts";

const ENDING = ".png";

/**
 * The files for this many pictures: out.png, out-2.png, out-3.png …
 *
 * @param out as the user gave it; a relative one starts in `folder`
 * @returns absolute paths that can be written now; files of that name will be replaced
 */
export function choosePictureFiles(out: string, { folder, count }: { folder: string; count: number }): string[] {
  if (out.trim() === "") throw new Error("--out is empty. Name a file, such as --out picture.png");
  const first = resolve(folder, out);
  if (isFolder(first))
    throw new Error(`--out ${out} is a folder. Name a file in it, such as --out ${join(out, "picture.png")}`);
  if (extname(first).toLowerCase() !== ENDING) {
    throw new Error(`--out ${out}: pictures are PNG files. Choose a name that ends in ${ENDING}, such as ${png(out)}`);
  }
  const { dir, name, ext } = parse(first);
  const files = Array.from({ length: count }, (_, i) => (i === 0 ? first : join(dir, `${name}-${i + 1}${ext}`)));
  checkFolder(dir, out);
  for (const file of files) checkWritable(file);
  return files;
}

/** The file is whole or untouched, and nothing else stays behind. In one turn, so that no signal comes between. */
export function writePicture(file: string, bytes: Uint8Array): void {
  const unfinished = unfinishedName(file);
  try {
    writeFileSync(unfinished, bytes);
    renameSync(unfinished, file);
  } catch (cause) {
    throw new Error(`${file} cannot be written: ${systemReason(cause)}.`, { cause });
  } finally {
    if (existsSync(unfinished)) rmSync(unfinished);
  }
}

const unfinishedName = (file: string): string => `${file}.${process.pid}.unfinished`;
const png = (out: string): string => join(dirname(out), `${basename(out, extname(out))}${ENDING}`);

const isFolder = (path: string): boolean => find(path)?.isDirectory() ?? false;

function checkFolder(folder: string, out: string): void {
  const found = find(folder);
  if (found === undefined) throw new Error(`--out ${out}: there is no folder ${folder}. Make it, or name another one.`);
  if (!found.isDirectory()) throw new Error(`--out ${out}: ${folder} is not a folder. Name another one.`);
}

/** Undefined for what is not there, or cannot be looked at. */
function find(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** Tries it: permissions alone do not tell about read-only disks and names that are too long. */
function checkWritable(file: string): void {
  if (isFolder(file)) throw new Error(`A picture would go to ${file}, which is a folder. Choose another --out.`);
  const probe = unfinishedName(file);
  try {
    writeFileSync(probe, "", { flag: "wx" });
  } catch (cause) {
    throw new Error(`${file} cannot be written: ${systemReason(cause)}. Name a file in another folder.`, { cause });
  } finally {
    if (existsSync(probe)) rmSync(probe);
  }
}
