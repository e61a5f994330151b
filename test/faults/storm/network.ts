/** The ways between the servers and what they need, each of which may be disturbed by itself. */
import { setTimeout } from "node:timers/promises";
import { Link, type Restoration } from "../../support/link.ts";

/** Milliseconds of everything that a slow link carries. */
const [MIN_DELAY_MS, MAX_DELAY_MS] = [50, 500];
const RESTORATIONS: readonly Restoration[] = ["goes on", "resets", "forgets"];

export type LinkFault = "cut link" | "silence link" | "mute link" | "slow link";

export interface NamedLink {
  readonly name: string;
  readonly link: Link;
  /** How often something happens to it, relative to others. */
  readonly weight: number;
}

export class Network {
  readonly links: NamedLink[] = [];

  /** @returns an address that leads where `url` does, by a link of its own */
  async lead(url: string, { name, weight }: Pick<NamedLink, "name" | "weight">): Promise<string> {
    const link = await Link.start(url);
    this.links.push({ name, link, weight });
    return link.by(url);
  }

  async stop(): Promise<void> {
    await Promise.all(this.links.map(({ link }) => link.stop()));
  }
}

/** @param how in [0, 1): what becomes of connections that were silent; how slow it is */
export async function disturbLink(
  link: Link,
  kind: LinkFault,
  { ms, how }: { ms: number; how: number },
): Promise<void> {
  switch (kind) {
    case "cut link":
      link.isClosed = true;
      link.reset();
      await setTimeout(ms);
      link.isClosed = false;
      return;
    case "slow link":
      link.delayMs = MIN_DELAY_MS + how * (MAX_DELAY_MS - MIN_DELAY_MS);
      await setTimeout(ms);
      link.delayMs = 0;
      return;
    case "silence link":
    case "mute link":
      link.silence(kind === "mute link" ? "answers" : "both");
      await setTimeout(ms);
      link.restore(RESTORATIONS[Math.floor(how * RESTORATIONS.length)] ?? "resets");
  }
}
