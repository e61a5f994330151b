"""Writes trained weights as a checkpoint in the published layout, fp16, with unipic.json for the dimensions.

python3 export.py --model runs/c.pt --vae runs/vae.ckpt --tokenizer runs --out ../presets/tiny
"""
import argparse, json, os, shutil
import torch
from dist import load

LLM_FOLDER = "Qwen2.5-1.5B-Instruct"
PROMPT = dict(template="<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
              text_to_image_prefix="Generate an image: ", text_to_image_unconditional="Generate an image.",
              image_edit_unconditional="Repeat this image.")


def dimensions(config, vae, ids, defaults):
    """unipic.json, in the schema that the model tool reads."""
    llm = config["llm"]
    return dict(
        name="tiny",
        vae=dict(embed_dim=16, ch=vae["config"]["ch"], ch_mult=list(vae["config"]["ch_mult"]),
                 num_res_blocks=vae["config"]["num_res_blocks"], num_groups=vae["config"]["num_groups"], in_channels=3, out_ch=3,
                 resolution=256, attn_resolutions_encoder=[16], attn_resolutions_decoder=[]),
        vae_scale=vae["scale"],
        mar=dict(patch_size=1, vae_embed_dim=config["vae_embed_dim"], norm_eps=1e-6, img_size=config["img_size"],
                 vae_stride=config["vae_stride"], encoder_embed_dim=config["embed_dim"], encoder_depth=config["encoder_depth"],
                 encoder_num_heads=config["num_heads"], decoder_embed_dim=config["embed_dim"], decoder_depth=config["decoder_depth"],
                 decoder_num_heads=config["num_heads"], mlp_ratio=config["mlp_ratio"], buffer_size=config["buffer_size"],
                 diffloss_d=config["diffloss_d"], diffloss_w=config["diffloss_w"], num_sampling_steps=str(defaults["diffusion_steps"])),
        llm=dict({k: llm[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                      "num_key_value_heads", "vocab_size", "rms_norm_eps", "rope_theta")},
                 tie_word_embeddings=True, rope_inv_freq_bf16=False),
        image_token_id=ids["<image>"], eos_token_id=ids["<|im_end|>"], class_num=config["class_num"], prompt=PROMPT, defaults=defaults)


def llm_config(llm, ids):
    """config.json of the language model, as the Hugging Face libraries write it."""
    return dict(
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu", torch_dtype="float16", use_cache=True,
        attention_dropout=0.0, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], initializer_range=0.02,
        hidden_size=llm["hidden_size"], intermediate_size=llm["intermediate_size"], num_hidden_layers=llm["num_hidden_layers"],
        num_attention_heads=llm["num_attention_heads"], num_key_value_heads=llm["num_key_value_heads"],
        max_position_embeddings=1024, max_window_layers=llm["num_hidden_layers"], sliding_window=1024, use_sliding_window=False,
        rms_norm_eps=llm["rms_norm_eps"], rope_theta=llm["rope_theta"], tie_word_embeddings=True, vocab_size=llm["vocab_size"])


def write_json(path, content):
    with open(path, "w") as f:
        json.dump(content, f, indent=1)
        f.write("\n")


def main(a):
    trained, vae = load(a.model), load(a.vae)
    config, folder = trained["config"], os.path.join(a.out, LLM_FOLDER)
    os.makedirs(folder, exist_ok=True)
    half = {k: t.half().contiguous() for k, t in trained["model"].items()}
    half["llm.lm_head.weight"] = half["llm.model.embed_tokens.weight"]          # tied: one storage, two names
    torch.save(half, os.path.join(a.out, "pytorch_model.bin"))
    torch.save(dict(model={k: t.half().contiguous() for k, t in vae["model"].items()}), os.path.join(a.out, "kl16.ckpt"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(a.tokenizer, name), folder)
    with open(os.path.join(folder, "tokenizer.json")) as f:
        ids = {t["content"]: t["id"] for t in json.load(f)["added_tokens"]}
    write_json(os.path.join(folder, "config.json"), llm_config(config["llm"], ids))
    write_json(os.path.join(folder, "generation_config.json"), dict(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"], do_sample=False, max_new_tokens=96))
    defaults = dict(size=config["img_size"], steps=a.steps, diffusion_steps=a.diffusion_steps, guidance_scale=a.guidance, edit_guidance_scale=a.edit_guidance, temperature=a.temperature)
    write_json(os.path.join(a.out, "unipic.json"), dimensions(config, vae, ids, defaults))


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--vae", required=True)
    ap.add_argument("--tokenizer", required=True, help="folder with tokenizer.json and tokenizer_config.json")
    ap.add_argument("--out", required=True)
    ap.add_argument("--steps", type=int, default=18)
    ap.add_argument("--diffusion_steps", type=int, default=25)
    ap.add_argument("--guidance", type=float, default=1.5)
    ap.add_argument("--edit_guidance", type=float, default=1.0)
    ap.add_argument("--temperature", type=float, default=1.0)
    main(ap.parse_args())
