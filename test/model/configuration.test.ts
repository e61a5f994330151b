import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findCheckpointFolder } from "../../inference/model/checkpoint-folder.ts";
import { parseUnipicConfig } from "../../inference/model/config.ts";
import { changeJson, copyPreset } from "./own-checkpoint.ts";

const LLM_FOLDER = "Qwen2.5-1.5B-Instruct";

function setup() {
  const copy = copyPreset();
  const configFile = join(copy.checkpoint, "unipic.json");
  return {
    ...copy,
    configFile,
    llmConfigFile: join(copy.checkpoint, LLM_FOLDER, "config.json"),
    config: () => findCheckpointFolder(copy.checkpoint).config,
  };
}

describe("an error in unipic.json names the file, the key and what is wanted", () => {
  test.each<[section: string, key: string, value: unknown, problem: RegExp]>([
    ["mar", "encoder_depth", "3", /mar\.encoder_depth: .*expected number/],
    ["mar", "encoder_depth", 0, /mar\.encoder_depth: /],
    ["mar", "patch_size", 2, /mar\.patch_size: /],
    ["mar", "num_sampling_steps", 25, /mar\.num_sampling_steps: .*expected string/],
    ["vae", "ch_mult", [], /vae\.ch_mult: /],
    ["vae", "out_ch", 4, /vae\.out_ch: /],
    ["llm", "rms_norm_eps", -1, /llm\.rms_norm_eps: /],
    ["prompt", "template", "no place for it", /prompt\.template: .*\{input\}/],
    ["mar", "vae_stride", 8, /mar\.vae_stride: must be 16, the stride of a VAE with 5 levels/],
    ["mar", "vae_embed_dim", 8, /mar\.vae_embed_dim: must equal vae\.embed_dim \(16\)/],
    ["mar", "img_size", 100, /mar\.img_size: must be a multiple of 16/],
    ["mar", "encoder_num_heads", 3, /mar\.encoder_num_heads: must divide encoder_embed_dim/],
    ["mar", "decoder_num_heads", 5, /mar\.decoder_num_heads: must divide decoder_embed_dim/],
    ["llm", "num_attention_heads", 3, /llm\.num_attention_heads: must divide hidden_size/],
    ["llm", "num_key_value_heads", 3, /llm\.num_key_value_heads: must divide num_attention_heads/],
    ["vae", "num_groups", 5, /vae\.ch_mult\.0: num_groups \(5\) must divide ch \* ch_mult/],
  ])("%s.%s = %j", async (section, key, value, problem) => {
    const { configFile, build, results } = setup();
    changeJson(configFile, (content) => {
      content[section]![key] = value;
    });
    await expect(build()).rejects.toThrow(`${configFile} does not describe a UniPic model: `);
    await expect(build()).rejects.toThrow(problem);
    expect(results()).toEqual([]);
  });

  test("and all of them at once", () => {
    const { configFile, config } = setup();
    changeJson(configFile, (content) => {
      content["mar"]!["vae_stride"] = 4;
      content["llm"]!["num_key_value_heads"] = 3;
    });
    expect(config).toThrow(/mar\.vae_stride: .*; llm\.num_key_value_heads: /);
  });

  test.each(["[]", "3", '{"llm": 5}', '{"mar": []}'])("%s as its content", (content) => {
    const { configFile, config } = setup();
    writeFileSync(configFile, content);
    expect(config).toThrow(`${configFile} does not describe a UniPic model: `);
  });

  test("text that is no JSON", () => {
    const { configFile, config } = setup();
    writeFileSync(configFile, '{"mar": ');
    expect(config).toThrow(`${configFile} is not valid JSON. Restore the file that came with the checkpoint.`);
  });
});

describe("the language model's config.json", () => {
  test("completes a unipic.json without its dimensions", () => {
    const { configFile, config } = setup();
    const before = config();
    changeJson(configFile, (content) => {
      delete content["llm"]!["hidden_size"];
      delete content["llm"]!["num_hidden_layers"];
    });
    expect(config()).toEqual(before);
  });

  test("does not overrule unipic.json", () => {
    const { llmConfigFile, config } = setup();
    writeFileSync(llmConfigFile, JSON.stringify({ num_hidden_layers: 99 }));
    expect(config().llm.num_hidden_layers).toBe(4);
  });

  test("is named when it is damaged", () => {
    const { llmConfigFile, config } = setup();
    writeFileSync(llmConfigFile, JSON.stringify({ hidden_size: "wide" }));
    expect(config).toThrow(`${llmConfigFile} does not describe a UniPic model: hidden_size: `);
    writeFileSync(llmConfigFile, "{");
    expect(config).toThrow(`${llmConfigFile} is not valid JSON`);
  });
});

describe("without unipic.json", () => {
  test("the model has the published dimensions", () => {
    const { configFile, llmConfigFile, config } = setup();
    rmSync(configFile);
    rmSync(llmConfigFile);
    const { name, vae, mar, llm, vae_scale, image_token_id, eos_token_id } = config();
    expect(name).toBe("unipic-1.5b");
    expect(vae).toMatchObject({ embed_dim: 16, ch: 128, ch_mult: [1, 1, 2, 2, 4], num_res_blocks: 2, num_groups: 32 });
    expect(vae_scale).toBe(0.2325);
    expect(mar).toMatchObject({
      img_size: 512,
      vae_stride: 16,
      encoder_embed_dim: 1280,
      encoder_depth: 20,
      encoder_num_heads: 16,
      decoder_embed_dim: 1280,
      decoder_depth: 20,
      decoder_num_heads: 16,
      mlp_ratio: 4,
      buffer_size: 64,
      diffloss_d: 12,
      diffloss_w: 1536,
      norm_eps: 1e-6,
      num_sampling_steps: "100",
    });
    expect(llm).toMatchObject({
      hidden_size: 1536,
      intermediate_size: 8960,
      num_hidden_layers: 28,
      num_attention_heads: 12,
      num_key_value_heads: 2,
      vocab_size: 151936,
      rms_norm_eps: 1e-6,
      rope_theta: 1e6,
      rope_inv_freq_bf16: true,
    });
    expect([image_token_id, eos_token_id]).toEqual([151665, 151645]);
  });

  test("a smaller checkpoint is refused by the first tensor that does not fit", async () => {
    const { configFile, checkpoint, llmConfigFile, build, results } = setup();
    rmSync(configFile);
    rmSync(llmConfigFile);
    const file = join(checkpoint, "pytorch_model.bin");
    await expect(build()).rejects.toThrow(
      `Tensor "mar.z_proj.weight" of ${file} has shape [128, 16]; this model needs [1280, 16]. ` +
        "The checkpoint belongs to another configuration: check its unipic.json.",
    );
    expect(results()).toEqual([]);
  });
});

test("an empty unipic.json describes the published model too", () => {
  expect(parseUnipicConfig({ llm: {} }, "unipic.json")).toEqual(parseUnipicConfig({}, "unipic.json"));
});

test("keys of the training side are ignored", () => {
  const { configFile, config } = setup();
  const before = config();
  changeJson(configFile, (content) => {
    content["siglip"] = { hidden_size: 1 };
    content["mar"]!["label_drop_prob"] = 0.1;
  });
  expect(config()).toEqual(before);
  expect(readFileSync(configFile, "utf8")).toContain("label_drop_prob");
});
