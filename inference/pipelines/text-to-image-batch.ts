/**
 * Several requests of one size and number of steps, drawn together: they share every graph run, and a picture does not
 * depend on its company beyond the order of floating-point sums.
 */
import type { RgbImage } from "../image/rgb-image.ts";
import type { DrawingEvent, Unipic } from "./drawing.ts";
import { StepGroup } from "./step-group.ts";
import { type TextToImageRequest, textToImage } from "./text-to-image.ts";

/** The pictures of each request; all end when one fails. */
export async function drawBatch(
  unipic: Unipic,
  requests: readonly TextToImageRequest[],
  signal: AbortSignal,
): Promise<readonly (readonly RgbImage[])[]> {
  const group = new StepGroup(unipic.model);
  const failure = new AbortController();
  const options = { signal: AbortSignal.any([signal, failure.signal]) };
  const members = requests.map(() => group.join());
  const drawings = requests.map((request, i) => textToImage(unipic, request, { ...options, member: members[i] }));
  // Every request is checked before anything runs.
  for (const drawing of drawings) await drawing.next();
  const results = drawings.map((drawing, i) =>
    imagesOf(drawing)
      .catch((error) => {
        failure.abort();
        throw error;
      })
      .finally(() => members[i]?.leave()),
  );
  return Promise.all(results);
}

async function imagesOf(events: AsyncIterable<DrawingEvent>): Promise<readonly RgbImage[]> {
  const images: RgbImage[] = [];
  for await (const event of events) if (event.kind === "image") images.push(event.image);
  return images;
}
