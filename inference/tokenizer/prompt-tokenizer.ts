/** Text to token ids with the checkpoint's own tokenizer. It knows chat templates and nothing of tasks. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";

const tokenizerSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.number().int(), content: z.string() })).default([]),
  model: z.looseObject({ type: z.string().optional(), vocab: z.unknown() }),
});

const KNOWN_MODEL = "BPE";
const INPUT = "{input}";

export class PromptTokenizer {
  private constructor(
    private readonly plain: Tokenizer,
    private readonly addedTokens: ReadonlyMap<string, number>,
  ) {}

  /** Loads `tokenizer.json` and `tokenizer_config.json` of a folder. */
  static load(folder: string): PromptTokenizer {
    const file = join(folder, "tokenizer.json");
    const json = parse(readJson(file), tokenizerSchema, file);
    if (json.model.type !== KNOWN_MODEL) {
      throw new Error(
        `${file} is a tokenizer of type "${json.model.type ?? "unknown"}"; only ${KNOWN_MODEL} (Qwen2) is supported.`,
      );
    }
    const configFile = join(folder, "tokenizer_config.json");
    const config = parse(readJson(configFile), z.looseObject({}), configFile);
    const addedTokens = new Map(json.added_tokens.map(({ content, id }) => [content, id]));
    if (Object.keys(Object(json.model.vocab)).length === 0) throw damaged(file, "its vocabulary is empty");
    try {
      // Without its added tokens the tokenizer reads "<|im_end|>" in a user's text as the ten characters it is.
      const plain = new Tokenizer(
        { ...json, added_tokens: [] },
        { ...config, added_tokens_decoder: {}, additional_special_tokens: [] },
      );
      return new PromptTokenizer(plain, addedTokens);
    } catch (cause) {
      throw damaged(file, cause instanceof Error ? cause.message : String(cause), cause);
    }
  }

  /**
   * Ids of `template` with `input` in place of `{input}`; special tokens are recognised in the template only.
   *
   * @param special more of them, with the ids that each stands for
   */
  encode(template: string, input: string, special: ReadonlyMap<string, readonly number[]> = new Map()): number[] {
    const idsOf = (part: string): readonly number[] | undefined => {
      const id = this.addedTokens.get(part);
      return special.get(part) ?? (id === undefined ? undefined : [id]);
    };
    return splitAt(template, [...this.addedTokens.keys(), ...special.keys()]).flatMap(
      (part) => idsOf(part) ?? this.plain.encode(part.replace(INPUT, () => input)).ids,
    );
  }

  /** Text of ids, without special tokens; bytes that are no complete character become U+FFFD. */
  decode(ids: readonly number[]): string {
    const special = new Set(this.addedTokens.values());
    const words = ids.filter((id) => !special.has(id) && this.plain.id_to_token(id) !== undefined);
    return words.length === 0 ? "" : this.plain.decode(words, { clean_up_tokenization_spaces: false });
  }
}

function splitAt(text: string, tokens: readonly string[]): readonly string[] {
  if (tokens.length === 0) return [text];
  const longestFirst = [...tokens].sort((a, b) => b.length - a.length).map(escapeRegExp);
  return text.split(new RegExp(`(${longestFirst.join("|")})`)).filter((part) => part !== "");
}

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function readJson(file: string): unknown {
  if (!existsSync(file)) throw new Error(`${file} is missing. Copy the tokenizer of the checkpoint into the folder.`);
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new Error(`${file} is not valid JSON. Restore the file that came with the checkpoint.`, { cause });
  }
}

function parse<T>(json: unknown, schema: z.ZodType<T>, file: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => [...path, message].join(": "));
  throw damaged(file, problems.join("; "), parsed.error);
}

const damaged = (file: string, problem: string, cause?: unknown): Error =>
  new Error(`${file} is no Qwen2 tokenizer (${problem}). Restore the file that came with the checkpoint.`, { cause });
