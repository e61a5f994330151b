/** Prompts that hold a picture: its tokens, a line break, then the text (model-spec 7 and 8). */
import type { Grid } from "../runtime/position-tables.ts";
import type { Unipic } from "./drawing.ts";
import { tokenCountOf } from "./mar-sampler.ts";

const IMAGE = "<image>";

/** Token ids; the image tokens are those of the grid, in raster order, then the buffers. */
export function imagePrompt({ model, tokenizer }: Unipic, text: string, grid: Grid): number[] {
  const { prompt, tokens, dimensions } = model.manifest;
  const imageTokens = Array<number>(tokenCountOf(grid) + dimensions.bufferTokens).fill(tokens.image);
  const template = prompt.template.replace("{input}", `${IMAGE}\n{input}`);
  return tokenizer.encode(template, text, new Map([[IMAGE, imageTokens]]));
}
