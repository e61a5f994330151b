/** From a request on the wire to a task for the computing thread, checked against what this worker offers. */
import { ServerError, Status } from "nice-grpc";
import {
  type Drawing,
  type GenerateRequest,
  GuidanceSchedule,
  type ImageToText,
  Speed,
} from "../../proto/gen/inference/v1/inference.ts";
import type { DrawingSettings } from "../pipelines/drawing.ts";
import type { ModelOffer } from "../pipelines/pipelines.ts";
import type { EncodedImageToText, Task } from "./compute-protocol.ts";

/** Throws INVALID_ARGUMENT for what the model cannot do, whoever asks. */
export function taskOf({ preset, leaseId, task }: GenerateRequest, offer: ModelOffer): Task {
  if (leaseId === "") refuse("lease_id is empty.");
  if (preset !== offer.preset) refuse(`This worker serves the preset "${offer.preset}", not "${preset}".`);
  switch (task?.$case) {
    case "textToImage": {
      const { prompt, drawing } = task.value;
      return { kind: "textToImage", request: { prompt, ...drawingOf(drawing, offer) } };
    }
    case "imageEdit": {
      const { instruction, drawing, source, mask } = task.value;
      const request = { instruction, source, ...drawingOf(drawing, offer) };
      return { kind: "imageEdit", request: mask.length === 0 ? request : { ...request, mask } };
    }
    case "imageVariation": {
      const { prompt, drawing, source, strength } = task.value;
      const request = { prompt: prompt === "" ? undefined : prompt, source, strength, ...drawingOf(drawing, offer) };
      return { kind: "imageVariation", request };
    }
    case "imageToText":
      return { kind: "imageToText", request: questionOf(task.value, offer) };
    case undefined:
      return refuse("The request names no task that this worker knows.");
  }
}

function drawingOf(
  drawing: Drawing | undefined,
  offer: ModelOffer,
): DrawingSettings & { readonly unconditionalPrompt: string } {
  if (drawing?.size === undefined) return refuse("size is missing.");
  const { size, count, guidanceSchedule, speed, ...settings } = drawing;
  const { width, height } = size;
  const { sizeStep, maxPixels } = offer;
  if (width % sizeStep !== 0 || height % sizeStep !== 0 || width * height === 0 || width * height > maxPixels) {
    refuse(
      `${width} x ${height} pixels are not offered; possible are sides that are multiples of ${sizeStep}, ` +
        `with at most ${maxPixels} pixels together.`,
    );
  }
  if (count < 1 || count > offer.maxCount) refuse(`count is ${count}; 1 to ${offer.maxCount} are possible.`);
  return {
    ...settings,
    width,
    height,
    count,
    diffusionSteps: offer.diffusionSteps,
    guidanceSchedule: guidanceSchedule === GuidanceSchedule.LINEAR ? "linear" : "constant",
    speed: speedOf(speed, offer),
  };
}

export const WIRE_SPEEDS: Readonly<Record<DrawingSettings["speed"], Speed>> = {
  exact: Speed.EXACT,
  fast: Speed.FAST,
  faster: Speed.FASTER,
};

function speedOf(wire: Speed, { speeds }: ModelOffer): DrawingSettings["speed"] {
  if (wire === Speed.UNSPECIFIED) return "exact";
  const names = speeds.map(({ name }) => name);
  const found = names.find((name) => WIRE_SPEEDS[name] === wire);
  return found ?? refuse(`speed ${wire} is not known; possible are ${names.join(", ")}.`);
}

function questionOf({ temperature, topP, seed, ...request }: ImageToText, offer: ModelOffer): EncodedImageToText {
  const { size, maxTokens } = request;
  if (!offer.sizes.includes(size)) {
    refuse(`Pictures are not looked at with ${size} x ${size} pixels; possible is ${squares(offer)}.`);
  }
  if (maxTokens < 1 || maxTokens > offer.maxTokens) {
    refuse(`max_tokens is ${maxTokens}; 1 to ${offer.maxTokens} are possible.`);
  }
  return { ...request, sampling: temperature === 0 ? undefined : { temperature, topP, seed } };
}

const squares = ({ sizes }: ModelOffer): string => sizes.map((side) => `${side} x ${side}`).join(", ");

function refuse(message: string): never {
  throw new ServerError(Status.INVALID_ARGUMENT, message);
}
