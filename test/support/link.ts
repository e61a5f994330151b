/** A way to a server of this machine that breaks, falls silent and gets slow, as networks do. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

/** Both: nothing passes. Answers: what is asked for arrives, and nobody hears so. */
export type Silence = "both" | "answers";
/** What becomes of connections that were there: they go on, break, or stay silent for ever, as behind a router that forgot them. */
export type Restoration = "goes on" | "resets" | "forgets";

/** Of a server that asks whether the other side of a silent connection is there. */
const KEEPALIVE_MS = 30_000;

interface Quiet {
  readonly silence: Silence;
  readonly isOver: Promise<void>;
  readonly end: () => void;
}

export class Link {
  /** Of everything that is sent. */
  delayMs = 0;
  /** Whoever connects is turned away. */
  isClosed = false;
  private quiet: Quiet | undefined;
  private readonly calls = new Set<Call>();
  private readonly server: Server;

  private constructor(target: URL) {
    this.server = createServer({ allowHalfOpen: true }, (client) => {
      if (this.isClosed) return void client.on("error", () => {}).resetAndDestroy();
      const call = new Call(this, client, target);
      this.calls.add(call);
      client.once("close", () => call.isForgotten || this.calls.delete(call));
    });
  }

  static async start(url: string): Promise<Link> {
    const link = new Link(new URL(url));
    await new Promise<void>((resolve) => link.server.listen(0, "127.0.0.1", resolve));
    return link;
  }

  /** The same address by this way. */
  by(url: string): string {
    const { port } = this.server.address() as AddressInfo;
    return Object.assign(new URL(url), { port: String(port) }).href.replace(/\/$/, "");
  }

  /** Breaks every connection. */
  reset(): void {
    for (const call of this.calls) call.reset();
  }

  silence(silence: Silence): void {
    let end = (): void => {};
    const isOver = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.quiet = { silence, isOver, end };
  }

  restore(how: Restoration): void {
    if (how !== "goes on")
      for (const call of this.calls) if (call.isOpen) call[how === "resets" ? "reset" : "forget"]();
    this.quiet?.end();
    this.quiet = undefined;
  }

  /** Resolves when this way is passable: for a new connection both directions are needed. */
  async passable(what: "connection" | "request" | "answer"): Promise<void> {
    while (this.quiet !== undefined && (what !== "request" || this.quiet.silence === "both")) await this.quiet.isOver;
  }

  async stop(): Promise<void> {
    this.isClosed = true;
    this.restore("resets");
    this.reset();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A connection. What happens at one of its ends reaches the other one in its order, when the link lets it pass. */
class Call {
  isForgotten = false;
  private upstream: Socket | undefined;
  private forth: Promise<void>;
  private back: Promise<void> = Promise.resolve();

  constructor(
    private readonly link: Link,
    private readonly client: Socket,
    target: URL,
  ) {
    this.forth = link.passable("connection").then(() => this.connect(target));
    client.on("data", (piece) => this.send(() => this.upstream?.write(piece)));
    client.on("end", () => this.send(() => this.upstream?.end()));
    client.on("error", () => this.send(() => this.upstream?.resetAndDestroy()));
    client.on("close", () => this.send(() => this.upstream?.destroy()));
  }

  /** Its server knows of it. */
  get isOpen(): boolean {
    return this.upstream !== undefined;
  }

  reset(): void {
    this.isForgotten = true;
    for (const socket of [this.client, this.upstream]) if (socket?.destroyed === false) socket.resetAndDestroy();
  }

  /** Nothing passes any more, in either direction. */
  forget(): void {
    this.isForgotten = true;
    const { upstream } = this;
    void setTimeout(KEEPALIVE_MS, undefined, { ref: false }).then(() => upstream?.destroy());
  }

  private connect(target: URL): void {
    if (this.client.destroyed) return;
    const { client } = this;
    const upstream = connect({ port: Number(target.port), host: target.hostname, allowHalfOpen: true });
    this.upstream = upstream;
    upstream.on("data", (piece) => this.answer(() => client.write(piece)));
    upstream.on("end", () => this.answer(() => client.end()));
    upstream.on("error", () => this.answer(() => client.destroyed || client.resetAndDestroy()));
    upstream.on("close", () => this.answer(() => client.destroy()));
  }

  private send(act: () => void): void {
    this.forth = this.after(this.forth, "request", act);
  }

  private answer(act: () => void): void {
    this.back = this.after(this.back, "answer", act);
  }

  private async after(earlier: Promise<void>, what: "request" | "answer", act: () => void): Promise<void> {
    const dueAt = performance.now() + this.link.delayMs;
    await earlier;
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) await setTimeout(leftMs);
    await this.link.passable(what);
    if (!this.isForgotten) act();
  }
}
