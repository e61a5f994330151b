/** Image-to-text on the computing thread: words as they come; the tokens so far are the checkpoint. */
import { decodeAnswer, encodeAnswer } from "../pipelines/answer-checkpoint.ts";
import { imageToText } from "../pipelines/image-to-text.ts";
import { type Pipelines, readPicture } from "../pipelines/pipelines.ts";
import type { EncodedImageToText } from "./compute-protocol.ts";
import type { Outcome, RunControl } from "./run-control.ts";

const CHECKPOINT_INTERVAL_MS = 1000;

export async function runAnswer(
  pipelines: Pipelines,
  request: EncodedImageToText,
  { signal, checkpoint, groupSize, turn, shouldYield, emit, onStage }: RunControl,
): Promise<Outcome> {
  const from = checkpoint === undefined ? [] : decodeAnswer(checkpoint, request.maxTokens);
  const image = await readPicture(request.image);
  const totalSteps = request.maxTokens;
  let savedAt = performance.now();
  const save = (ids: readonly number[]): void => {
    emit({ kind: "checkpoint", stepsDone: ids.length, state: encodeAnswer(ids) });
    savedAt = performance.now();
  };
  let length = 0;
  for await (const event of imageToText(pipelines, { ...request, image }, { signal, from, onStage })) {
    switch (event.kind) {
      case "started":
        await turn();
        emit({ kind: "started", stepsDone: from.length, totalSteps, groupSize });
        emit({ kind: "frame", stage: "preparing", stepsDone: from.length, totalSteps, previews: [] });
        break;
      case "text":
        emit({ kind: "text", offset: length, text: event.text });
        length += event.text.length;
        emit({ kind: "frame", stage: "writing", stepsDone: event.ids.length, totalSteps, previews: [] });
        if (shouldYield()) {
          save(event.ids);
          return "yielded";
        }
        if (performance.now() - savedAt >= CHECKPOINT_INTERVAL_MS) save(event.ids);
        break;
      case "end":
        break;
    }
  }
  return "done";
}
