/** A way to a server of this machine on which connections break: every so many pieces of what it says, without a word. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export class CuttingProxy {
  /** Connections that were cut. */
  cuts = 0;
  private pieces = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  /** @param cutEvery 5: every fifth piece is the last one of its connection, and is not passed on */
  private constructor(target: URL, cutEvery: number) {
    this.server = createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname);
      const end = (): void => {
        for (const socket of [client, upstream]) {
          this.sockets.delete(socket);
          socket.destroy();
        }
      };
      for (const socket of [client, upstream]) this.sockets.add(socket.on("error", end).on("close", end));
      client.pipe(upstream);
      upstream.on("data", (piece) => {
        if (++this.pieces % cutEvery !== 0) return void client.write(piece);
        this.cuts++;
        client.resetAndDestroy();
        end();
      });
    });
  }

  static async start(url: string, { cutEvery }: { cutEvery: number }): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(new URL(url), cutEvery);
    await new Promise<void>((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  /** The same address by this way. */
  by(url: string): string {
    const { port } = this.server.address() as AddressInfo;
    return Object.assign(new URL(url), { port: String(port) }).href;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
