/** Calls that are repeated, at the one API or the other, until they are answered. */
import { setTimeout as pause } from "node:timers/promises";
import { GraphqlClient } from "../../support/graphql-client.ts";

const PATIENCE_MS = 5000;
const PAUSE_MS = 100;
/** Answers like any other. */
const OUTAGES = ["INTERNAL", "UNAVAILABLE"];
const EXPECTED = ["NOT_CANCELLABLE", "DEADLINE_UNREACHABLE"];

export class Asking {
  /** Calls that were repeated because they were not answered. */
  retries = 0;

  /** @param urls of each API */
  constructor(private readonly urls: readonly string[]) {}

  /** The data of the first answer. @throws where it was refused for good */
  insist(apiKey: string, query: string, variables: object, random: () => number): Promise<any> {
    return this.untilDone(random, async (url, signal) => {
      const answer = await new GraphqlClient(url, apiKey).send(query, variables, signal).catch(() => undefined);
      return answer !== undefined && isFinal(answer) ? answer.data : undefined;
    });
  }

  /** @param ask undefined: not answered */
  async untilDone<T>(
    random: () => number,
    ask: (url: string, signal: AbortSignal) => Promise<T | undefined>,
  ): Promise<T> {
    const { urls } = this;
    for (let api = Math.floor(random() * urls.length); ; api = (api + 1) % urls.length) {
      const done = await ask(urls[api] ?? "", AbortSignal.timeout(PATIENCE_MS));
      if (done !== undefined) return done;
      this.retries++;
      await pause(PAUSE_MS);
    }
  }
}

/** Whether it is not worth asking again. Throws where it was refused for good. */
function isFinal({ data, errors = [] }: { data: any; errors?: readonly any[] }): boolean {
  const refusal = errors.find(({ extensions }) => !OUTAGES.includes(extensions?.code));
  if (refusal !== undefined) throw new Error(`refused: ${JSON.stringify(refusal)}`);
  if (errors.length > 0) return false;
  const payload = Object.values<any>(data)[0];
  const problem = payload?.userErrors?.find(({ code }: any) => !EXPECTED.includes(code));
  if (problem === undefined) return true;
  if (problem.retryable || OUTAGES.includes(problem.code)) return false;
  throw new Error(`refused: ${JSON.stringify(problem)}`);
}
