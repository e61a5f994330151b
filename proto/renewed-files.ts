/**
 * How both sides of a connection between server and worker read what they show each other: again when the files change, so
 * that what is renewed needs no restart. Connections and calls that are there already go on as they began.
 */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { experimental } from "@grpc/grpc-js";

/** Between two looks at the files of certificates. Links to them may change, as Kubernetes does it, so they are read. */
const INTERVAL_MS = 1000;
const MIN_TOKEN_CHARACTERS = 16;

/** In PEM form. */
export interface CertificatePaths {
  /** Who signs the certificates of the other side. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

type Certificates = { readonly [File in keyof CertificatePaths]: Buffer };

export interface RenewalListener {
  renewed(): void;
  /** Those that are used stay: a file is not there, half written, or does not fit to the others. Told once for each change. */
  refused(error: unknown): void;
}

/** What gRPC asks for the newest certificates that fit together. It looks at the files while there is a connection that may be made. */
export class CertificateFiles implements experimental.CertificateProvider {
  private certificates: Certificates;
  private refusal = "";
  private timer: NodeJS.Timeout | undefined;
  private readonly ofCa = new Set<experimental.CaCertificateUpdateListener>();
  private readonly ofIdentity = new Set<experimental.IdentityCertificateUpdateListener>();

  /** Throws when the files cannot be used. */
  constructor(
    private readonly paths: CertificatePaths,
    private readonly listener: RenewalListener,
  ) {
    this.certificates = readTogether(paths);
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.ofCa.add(listener);
    this.watch();
    process.nextTick(() => listener(this.ca));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.ofCa.delete(listener);
    this.stopWhenUnused();
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.ofIdentity.add(listener);
    this.watch();
    process.nextTick(() => listener(this.identity));
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.ofIdentity.delete(listener);
    this.stopWhenUnused();
  }

  private get ca(): experimental.CaCertificateUpdate {
    return { caCertificate: this.certificates.ca };
  }

  private get identity(): experimental.IdentityCertificateUpdate {
    return { certificate: this.certificates.cert, privateKey: this.certificates.key };
  }

  private watch(): void {
    if (this.timer !== undefined) return;
    this.look();
    this.timer = setInterval(() => this.look(), INTERVAL_MS).unref();
  }

  private stopWhenUnused(): void {
    if (this.ofCa.size + this.ofIdentity.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private look(): void {
    try {
      const found = readTogether(this.paths);
      this.refusal = "";
      const { ca, cert, key } = this.certificates;
      if (found.ca.equals(ca) && found.cert.equals(cert) && found.key.equals(key)) return;
      this.certificates = found;
    } catch (error) {
      if (String(error) !== this.refusal) this.listener.refused(error);
      this.refusal = String(error);
      return;
    }
    for (const listener of this.ofIdentity) listener(this.identity);
    for (const listener of this.ofCa) listener(this.ca);
    this.listener.renewed();
  }
}

/** Throws when they do not fit together. */
function readTogether({ ca, cert, key }: CertificatePaths): Certificates {
  const certificates = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
  createSecureContext(certificates);
  return certificates;
}

/**
 * Tokens, one in a line: callers show the first, and whoever is called takes any. So a new one can be made known everywhere
 * before anybody shows it. Read for each call; a file that cannot be used is as it was before.
 */
export class TokenFile {
  private tokens: readonly string[];

  /** Throws when the file cannot be used. */
  constructor(private readonly path: string) {
    this.tokens = readTokens(path);
  }

  get all(): readonly string[] {
    try {
      this.tokens = readTokens(this.path);
    } catch {
      // It is being replaced.
    }
    return this.tokens;
  }
}

function readTokens(path: string): readonly string[] {
  const lines = readFileSync(path, "utf8").split("\n");
  const tokens = lines.map((line) => line.trim()).filter((line) => line !== "");
  if (tokens.length === 0 || tokens.some((token) => token.length < MIN_TOKEN_CHARACTERS))
    throw new Error(
      `${path} has no token, or one that is too short: give at least ${MIN_TOKEN_CHARACTERS} characters.`,
    );
  return tokens;
}
