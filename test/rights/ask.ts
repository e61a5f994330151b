/** Asks as one of the callers, over HTTP or, for a subscription, on a socket. */
import type { ApiResult } from "../support/graphql-client.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { CALLS } from "./calls.ts";
import type { Caller, World } from "./world.ts";

export interface Answer {
  /** "yes", or the code of the refusal. */
  readonly result: string;
  /** All of it. */
  readonly text: string;
}

/** @param onMade told when what is asked for is there, and nothing is asked yet */
export async function ask(
  world: World,
  row: string,
  caller: Caller,
  onMade: () => Promise<void> = async () => {},
): Promise<Answer> {
  const { query, variables } = await CALLS[row]!(world.thingsFor(caller), world);
  await onMade();
  if (caller === "suspended") await world.setSuspended(true);
  try {
    const client = world.client(caller);
    if (row.startsWith("Subscription.")) return await subscribe(client, query, variables);
    const answer = await client.send(query, variables);
    return { result: resultOf(answer), text: JSON.stringify(answer) };
  } finally {
    if (caller === "suspended") await world.setSuspended(false);
  }
}

/** The first answer on a socket of its own, or how the server closed it. */
async function subscribe(
  { url, apiKey }: { url: string; apiKey?: string | undefined },
  query: string,
  variables: object = {},
): Promise<Answer> {
  const socket = new RawSocket(url, apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` });
  const closed = socket.closed.then(({ code, reason }) => ({ result: String(code), text: reason }));
  const first = async () => {
    await socket.acknowledged();
    socket.subscribe("1", query, variables);
    const { payload, type } = await socket.next();
    const result = type === "error" ? resultOf({ data: null, errors: payload }) : resultOf(payload);
    return { result, text: JSON.stringify(payload) };
  };
  try {
    return await Promise.race([closed, first()]);
  } finally {
    socket.close();
  }
}

function resultOf({ data, errors }: ApiResult): string {
  const [payload] = Object.values(data ?? {}) as { userErrors?: { code: string }[] }[];
  return String(errors?.[0]?.extensions["code"] ?? payload?.userErrors?.[0]?.code ?? "yes");
}
