/** What somebody wrote in a task, for the checks that read it. */
import type { WrittenText } from "../moderation/check.ts";
import type { TaskInput } from "./generation.input.ts";

export function textsOf({ textToImage, imageEdit, imageVariation, imageToText }: TaskInput): readonly WrittenText[] {
  const fields: readonly (readonly [task: string, field: string, text: string | undefined])[] = [
    ["textToImage", "prompt", textToImage?.prompt],
    ["textToImage", "unconditionalPrompt", textToImage?.unconditionalPrompt],
    ["imageEdit", "instruction", imageEdit?.instruction],
    ["imageEdit", "unconditionalPrompt", imageEdit?.unconditionalPrompt],
    ["imageVariation", "prompt", imageVariation?.prompt],
    ["imageVariation", "unconditionalPrompt", imageVariation?.unconditionalPrompt],
    ["imageToText", "question", imageToText?.question],
  ];
  return fields.flatMap(([task, field, text]) =>
    text === undefined ? [] : [{ path: ["input", "task", task, field], text }],
  );
}
