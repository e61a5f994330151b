/** Certificates that OpenSSL makes for a test: an authority, and a key pair for each name that it signs. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

export interface Authority {
  readonly caFile: string;
  /** Paths in PEM form. */
  sign(name: string): { readonly cert: string; readonly key: string };
  remove(): void;
}

export function makeAuthority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), "atelier-certificates-"));
  const file = (name: string): string => join(folder, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  run(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.crt"),
    "-subj",
    "/CN=authority",
    "-days",
    "2",
  );
  return {
    caFile: file("ca.crt"),
    sign(name) {
      const [key, request, cert] = [file(`${name}.key`), file(`${name}.csr`), file(`${name}.crt`)];
      writeFileSync(file(`${name}.ext`), `subjectAltName=DNS:${name}`);
      run("req", ...newKey, "-keyout", key, "-out", request, "-subj", `/CN=${name}`);
      const signer = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-CAcreateserial"];
      run("x509", "-req", "-in", request, ...signer, "-out", cert, "-days", "2", "-extfile", file(`${name}.ext`));
      return { cert, key };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function run(...args: readonly string[]): void {
  const { status, stderr } = spawnSync("openssl", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
}
