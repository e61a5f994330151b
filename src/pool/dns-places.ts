/** Places that a name stands for, such as that of a headless service: asked for again every few seconds. */
import { lookup, resolveSrv } from "node:dns/promises";
import { isIPv6 } from "node:net";
import type { Logger } from "../platform/logger.ts";
import { Ticker } from "../platform/ticker.ts";
import type { PlaceSource, WorkerPlace } from "./remote-workers.ts";

const RESOLVE_MS = 5000;
/** The name stands for nothing now. Anything else is a failure to find out, after which what was known last holds. */
const NOTHING_FOUND = new Set(["ENOTFOUND", "ENODATA"]);

/** What is asked of the name server. */
export interface NameResolver {
  /** IPv4 and IPv6 addresses, with the machine's search domains. */
  addresses(name: string): Promise<readonly string[]>;
  services(name: string): Promise<readonly { readonly name: string; readonly port: number }[]>;
}

export const systemResolver: NameResolver = {
  addresses: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  services: (name) => resolveSrv(name),
};

/** Addresses of a name with a port, or the services of an SRV record, which have their own. */
export type DnsName = { readonly host: string; readonly port: number } | { readonly srv: string };

export interface DnsPlacesOptions {
  readonly name: DnsName;
  readonly resolver: NameResolver;
  readonly logger: Logger;
  readonly intervalMs?: number;
}

export class DnsPlaces implements PlaceSource {
  private readonly ticker: Ticker;
  private listener: (places: readonly WorkerPlace[]) => void = () => {};

  constructor(private readonly options: DnsPlacesOptions) {
    const { logger, intervalMs = RESOLVE_MS } = options;
    this.ticker = new Ticker({ name: "worker names", intervalMs, runOnce: () => this.runOnce(), logger });
  }

  async start(listener: (places: readonly WorkerPlace[]) => void): Promise<void> {
    this.listener = listener;
    this.ticker.start();
  }

  stop(): Promise<void> {
    return this.ticker.stop();
  }

  private async runOnce(): Promise<void> {
    try {
      this.listener(await this.resolve());
    } catch (error) {
      if (!NOTHING_FOUND.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      this.listener([]);
    }
  }

  private async resolve(): Promise<readonly WorkerPlace[]> {
    const { name, resolver } = this.options;
    if ("srv" in name) {
      const services = await resolver.services(name.srv);
      return services.map((service) => placeAt(service.name, service.port, undefined));
    }
    return (await resolver.addresses(name.host)).map((address) => placeAt(address, name.port, name.host));
  }
}

function placeAt(host: string, port: number, serverName: string | undefined): WorkerPlace {
  const target = targetOf(host, port);
  return { name: target, target, serverName };
}

export const targetOf = (host: string, port: number): string => `${isIPv6(host) ? `[${host}]` : host}:${port}`;
