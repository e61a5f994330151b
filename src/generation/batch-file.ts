/** Items of a batch in a file. GraphQL's own coercion judges them, so that they mean what inline ones mean. */
import { coerceInputValue, type GraphQLInputType } from "graphql";
import { DomainError } from "../platform/errors.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { Candidate, ItemWish, PlacedItem } from "./batch-items.ts";
import { readJsonEntries } from "./json-entries.ts";

const MAX_ITEMS = 50_000;
/** A wrong value is quoted in full: longer complaints are cut. */
const MAX_COMPLAINT_CHARACTERS = 300;

/**
 * The items of a JSON list, or of JSONL, in order, and what is wrong with others.
 *
 * @param itemType of the schema
 * @param path of the input that names the file
 */
export async function* readBatchFile(
  file: AsyncIterable<Uint8Array>,
  itemType: GraphQLInputType,
  path: readonly string[],
): AsyncGenerator<Candidate> {
  let index = 0;
  for await (const entry of readJsonEntries(file)) {
    if (index === MAX_ITEMS) {
      yield refusal(`A batch has at most ${MAX_ITEMS} items; there are more in this file. Make several batches.`, path);
      return;
    }
    const place = { index, place: entry.place, path: [...path, String(index)] };
    if ("problem" in entry) yield refusal(`${entry.place}: ${entry.problem}`, place.path);
    else yield* coerce(entry.value, itemType, place);
    index++;
  }
  if (index === 0)
    yield refusal('The file has no items. Send [{"prompt": "a star"}], or one {"prompt": "a star"} a line.', path);
}

function coerce(value: unknown, itemType: GraphQLInputType, placed: Omit<PlacedItem, "wish">): readonly Candidate[] {
  const refusals: DomainError[] = [];
  const wish: unknown = coerceInputValue(value, itemType, (fieldPath, _, { message }) => {
    const field = fieldPath.map(String);
    const complaint = `${placed.place}: ${[...field, shortened(message)].join(": ")}`;
    refusals.push(refusal(complaint, [...placed.path, ...field]));
  });
  return refusals.length > 0 ? refusals : [{ wish: withoutNulls(wish as ItemWish), ...placed }];
}

const shortened = (message: string): string =>
  message.length > MAX_COMPLAINT_CHARACTERS ? `${message.slice(0, MAX_COMPLAINT_CHARACTERS)}…` : message;

const refusal = (message: string, path: readonly string[]): DomainError =>
  new DomainError("INVALID_INPUT", message, { path });
