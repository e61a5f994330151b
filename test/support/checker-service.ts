/** A service that checks, as an operator would run one: a real HTTP server that answers as a test says. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Question {
  readonly headers: IncomingHttpHeaders;
  /** As it was sent. */
  readonly text: string;
  readonly body: any;
}

/** A verdict, or whatever a service may do wrong with a response. */
export type Answer = (question: Question, response: ServerResponse) => unknown;

export const allow: Answer = () => ({ verdict: "ALLOW" });
export const block: Answer = () => ({ verdict: "BLOCK", category: "wildlife" });
export const hang: Answer = () => undefined;
export const fail =
  (status = 500): Answer =>
  (_, response) =>
    void response.writeHead(status).end("It broke.");

export class CheckerService {
  readonly questions: Question[] = [];
  /** Questions that are open, and the most there were at a time. */
  open = 0;
  mostOpen = 0;
  answer: Answer = allow;
  private readonly server = createServer(async (request, response) => {
    this.open++;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    response.on("close", () => this.open--);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    const question = { headers: request.headers, text, body: JSON.parse(text) };
    this.questions.push(question);
    const answer = await this.answer(question, response);
    if (answer !== undefined) response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
  });

  /** Its address. */
  async start(): Promise<string> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/check`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
