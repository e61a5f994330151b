import { describe, expect, test } from "vitest";
import { graphFlops } from "../../bench/flops/graph-flops.ts";
import {
  blockFlops,
  denoiserFlops,
  encoderFlops,
  graphOf,
  llmFlops,
  originalFlops,
  ourFlops,
  totalOf,
} from "../../bench/flops/picture-flops.ts";
import { parseUnipicConfig } from "../../inference/model/config.ts";

const SMALL = parseUnipicConfig(
  {
    mar: {
      ...{ img_size: 64, encoder_embed_dim: 48, encoder_depth: 2, encoder_num_heads: 4, buffer_size: 4 },
      ...{ decoder_embed_dim: 32, decoder_depth: 3, decoder_num_heads: 2, diffloss_d: 2, diffloss_w: 24 },
    },
    llm: {
      ...{ hidden_size: 40, intermediate_size: 56, num_hidden_layers: 3, num_attention_heads: 4 },
      ...{ num_key_value_heads: 2, vocab_size: 200 },
    },
    vae: { ch: 8, num_groups: 4, num_res_blocks: 1 },
    image_token_id: 199,
    eos_token_id: 198,
  },
  "a small model",
);
const PUBLISHED = parseUnipicConfig({ defaults: {} }, "the published configuration");
const { mar, llm } = SMALL;

describe("the operations of a graph are those of its formula:", () => {
  test.each([0, 7])("encoder, %d known tokens", (visible) => {
    const projection = 2 * (4 + visible) * (mar.encoder_embed_dim * llm.hidden_size + llm.hidden_size ** 2);
    expect(graphFlops(graphOf("mar-encoder", SMALL), { images: 1, visible, places: 20 })).toBe(
      encoderFlops(SMALL, visible) + projection,
    );
    expect(graphFlops(graphOf("mar-encoder", SMALL), { images: 3, visible, places: 20 })).toBe(
      3 * (encoderFlops(SMALL, visible) + projection),
    );
  });

  test.each([
    [1, 5, 0],
    [2, 1, 9],
    [3, 6, 4],
  ])("language model, %d rows of %d tokens behind %d", (rows, fresh, past) => {
    expect(graphFlops(graphOf("llm", SMALL), { rows, new: fresh, past })).toBe(rows * llmFlops(SMALL, fresh, past));
  });

  test("decoder: the last block computes only what it predicts", () => {
    const [rows, places, predicted, visible] = [2, 20, 3, 5];
    const width = mar.decoder_embed_dim;
    const known = visible + mar.buffer_size;
    const answer = 2 * known * (llm.hidden_size ** 2 + llm.hidden_size * mar.encoder_embed_dim);
    const embed = 2 * known * mar.encoder_embed_dim * width;
    const whole = (mar.decoder_depth - 1) * blockFlops(places, width, mar.mlp_ratio);
    const keysAndValues = 2 * places * width * 2 * width;
    const last =
      keysAndValues + 2 * predicted * width * width * (2 + 2 * mar.mlp_ratio) + 4 * predicted * places * width;
    const sizes = { images: 1, rows, places, predicted, grid_places: 16, canvas_rows: 1, canvas_places: 1 };
    expect(
      graphFlops(graphOf("mar-decoder", SMALL), { ...sizes, "buffers+visible": known, "visible+buffers": known }),
    ).toBe(rows * (answer + embed + whole + last));
  });

  test("diffusion head: conditions and times are embedded apart from the steps", () => {
    const [tokens, steps] = [3, 5];
    const width = mar.diffloss_w;
    const once = 2 * mar.decoder_embed_dim * width;
    const times = 2 * (256 * width + width * width);
    const everyStep = denoiserFlops(SMALL) - once - times;
    expect(graphFlops(graphOf("diffusion-head", SMALL), { tokens, "branches*tokens": 2 * tokens, steps })).toBe(
      2 * tokens * steps * everyStep,
    );
    expect(graphFlops(graphOf("diffusion-condition", SMALL), { rows: 2 * tokens })).toBe(2 * tokens * once);
    expect(graphFlops(graphOf("diffusion-time", SMALL), { steps })).toBe(steps * times);
  });

  test("a convolution that halves a picture has a quarter of the results", () => {
    const graph = graphOf("vae-encoder", SMALL);
    const flops = (side: number): number => graphFlops(graph, { images: 1, height: side, width: side });
    // All but the attention at the coarsest level grows with the area.
    expect(flops(128) / flops(64)).toBeGreaterThan(4);
    expect(flops(128) / flops(64)).toBeLessThan(4.05);
  });
});

test("a picture of 1024 px costs at most 0.92 of what the original computes for it", () => {
  const work = { side: 64, steps: 32, diffusionSteps: 100, promptTokens: [40, 20] } as const;
  const [ours, original] = [ourFlops(PUBLISHED, work), originalFlops(PUBLISHED, work)];
  expect(totalOf(ours) / totalOf(original)).toBeLessThan(0.92);
  expect(original.encoder / 1e12).toBeCloseTo(99.4, 1); // model-spec 14
  expect(original.decoder / 1e12).toBeCloseTo(323.1, 1);
  expect(original.diffusion / 1e12).toBeCloseTo(247.5, 1);
  expect(original.vae / 1e12).toBeCloseTo(8.1, 1);
});
