import { expect } from "vitest";
import WebSocket from "ws";

interface Message {
  readonly type: string;
  readonly id?: string;
  readonly payload?: any;
}

/** A client that speaks graphql-transport-ws by hand. */
export class RawSocket {
  private readonly socket: WebSocket;
  private readonly messages: Message[] = [];
  private wake: () => void = () => {};
  readonly closed: Promise<{ code: number; reason: string }>;

  /** @param parameters of connection_init, which is not sent without them */
  constructor(url: string, parameters: Record<string, unknown> | undefined) {
    this.socket = new WebSocket(url.replace("http", "ws"), "graphql-transport-ws");
    this.socket.on("open", () => parameters && this.send({ type: "connection_init", payload: parameters }));
    this.socket.on("message", (data) => {
      this.messages.push(JSON.parse(String(data)));
      this.wake();
    });
    this.closed = new Promise((resolve) =>
      this.socket.on("close", (code, reason) => resolve({ code, reason: String(reason) })),
    );
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  subscribe(id: string, query: string, variables: object = {}): void {
    this.send({ id, type: "subscribe", payload: { query, variables } });
  }

  async next(): Promise<Message> {
    while (this.messages.length === 0) await new Promise<void>((resolve) => (this.wake = resolve));
    return this.messages.shift()!;
  }

  async acknowledged(): Promise<this> {
    expect((await this.next()).type).toBe("connection_ack");
    return this;
  }

  close(): void {
    this.socket.close();
  }
}
