/** What the command line asks the server about batches. */
import { z } from "zod";
import { type ApiClient, USER_ERRORS, userErrorsSchema } from "./api-client.ts";

const CREATE = /* GraphQL */ `
  mutation CreateBatch($input: CreateBatchInput!) {
    createBatch(input: $input) { batch { id } ${USER_ERRORS} }
  }
`;

const CANCEL = /* GraphQL */ `
  mutation CancelBatch($id: ID!) {
    cancelBatch(id: $id) { ${USER_ERRORS} }
  }
`;

const WATCH = /* GraphQL */ `
  query Batch($id: ID!, $after: String) {
    batch(id: $id) {
      total finishedAt
      counts { succeeded failed canceled }
      credits { charged }
      items(first: 100, after: $after) {
        edges {
          cursor
          node { customId status error { message } generation { images { url(expiresInSeconds: 3600) } } }
        }
      }
    }
  }
`;

const createdSchema = z.object({
  createBatch: z.object({ batch: z.object({ id: z.string() }).nullable(), userErrors: userErrorsSchema }),
});
const canceledSchema = z.object({ cancelBatch: z.object({ userErrors: userErrorsSchema }) });

const itemSchema = z.object({
  customId: z.string(),
  status: z.string(),
  error: z.object({ message: z.string() }).nullable(),
  generation: z.object({ images: z.array(z.object({ url: z.string() })) }).nullable(),
});
export type Item = z.infer<typeof itemSchema>;

const batchSchema = z.object({
  total: z.number(),
  finishedAt: z.string().nullable(),
  counts: z.object({ succeeded: z.number(), failed: z.number(), canceled: z.number() }),
  credits: z.object({ charged: z.string() }),
  items: z.object({ edges: z.array(z.object({ cursor: z.string(), node: itemSchema })) }),
});
export type BatchPage = z.infer<typeof batchSchema>;
const watchedSchema = z.object({ batch: batchSchema.nullable() });

/** The server does not take a batch as it is. */
export class BatchRefused extends Error {}

/**
 * Accepts a batch; with the same key and input, the same one.
 *
 * @param nameOf the item in a line of the file that was sent, for messages
 * @returns its id
 */
export async function createBatch(
  client: ApiClient,
  input: {
    readonly idempotencyKey: string;
    readonly preset: string | undefined;
    readonly defaults: object;
    readonly sourceUploadId: string;
  },
  nameOf: (line: number) => string | undefined,
): Promise<string> {
  const { createBatch: created } = await client.request(createdSchema, CREATE, { input });
  if (created.batch !== null) return created.batch.id;
  const complaints = created.userErrors.map(({ message }) =>
    message.replace(/^Line (\d+)/, (line, number) => nameOf(Number(number)) ?? line),
  );
  throw new BatchRefused(complaints.join("\n"));
}

/** How far a batch is, with a hundred items behind a cursor. */
export async function readBatch(client: ApiClient, id: string, after: string | undefined): Promise<BatchPage> {
  const { batch } = await client.request(watchedSchema, WATCH, { id, after });
  if (batch === null) throw new Error(`There is no batch ${id} that this key may read.`);
  return batch;
}

/** Asks a batch to stop; one that has ended stays as it is. */
export async function cancelBatch(client: ApiClient, id: string): Promise<void> {
  await client.request(canceledSchema, CANCEL, { id });
}
