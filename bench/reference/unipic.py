"""
The whole of UniPic in plain PyTorch, doing what the original's inference does and saving nothing.

Layers come from our training code (inference/train), which has the checkpoint's key names; what the training code leaves
out is here: any grid, padding and caches as the original has them, both guidance rows through every part of the model.
Nothing is shared between rows or steps, no block is cut short, and the autoencoder decodes both rows.
Source: src/models/skywork_unipic_siglip.py and src/models/mar/mar.py of SkyworkAI/UniPic, UniPic-1.
"""
import json
import math
import sys
from pathlib import Path

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    sys.exit("The reference needs PyTorch 1.13 or newer: apt-get install python3-torch, or name another interpreter with PYTHON=...")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "inference" / "train"))
from model import Block, DenoiseMLP, Layer, RMSNorm, mlp2  # noqa: E402
from reverse_diffusion import ReverseDiffusion  # noqa: E402
from vae import AutoencoderKL  # noqa: E402

FREQUENCY_WIDTH = 256


class Mar(nn.Module):
    """Both halves of the masked autoregressive transformer and the denoiser of its tokens."""

    def __init__(self, c):
        super().__init__()
        encoder, decoder, tok = c["encoder_embed_dim"], c["decoder_embed_dim"], c["vae_embed_dim"]
        self.side, self.buffers = c["img_size"] // c["vae_stride"], c["buffer_size"]
        rows = self.buffers + self.side ** 2
        eps = c["norm_eps"]
        self.fake_latent = nn.Parameter(torch.empty(1, encoder))
        self.z_proj, self.z_proj_ln = nn.Linear(tok, encoder), nn.LayerNorm(encoder, eps=eps)
        self.encoder_pos_embed_learned = nn.Parameter(torch.empty(1, rows, encoder))
        self.encoder_blocks = nn.ModuleList(Block(encoder, c["encoder_num_heads"], c["mlp_ratio"]) for _ in range(c["encoder_depth"]))
        self.encoder_norm = nn.LayerNorm(encoder, eps=eps)
        self.decoder_embed = nn.Linear(encoder, decoder)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder))
        self.decoder_pos_embed_learned = nn.Parameter(torch.empty(1, rows, decoder))
        self.decoder_blocks = nn.ModuleList(Block(decoder, c["decoder_num_heads"], c["mlp_ratio"]) for _ in range(c["decoder_depth"]))
        self.decoder_norm = nn.LayerNorm(decoder, eps=eps)
        self.diffusion_pos_embed_learned = nn.Parameter(torch.empty(1, self.side ** 2, decoder))
        self.diffloss = nn.Module()
        self.diffloss.net = DenoiseMLP(tok, c["diffloss_w"], c["diffloss_d"], decoder, FREQUENCY_WIDTH)

    def positions(self, table, grid, leading):
        """A position table (1, leading + side * side, width) for a grid of another size; leading rows stay."""
        if tuple(grid) == (self.side, self.side):
            return table
        width = table.shape[-1]
        picture = table[:, leading:].view(1, self.side, self.side, width).permute(0, 3, 1, 2)
        resized = F.interpolate(picture, size=tuple(grid), mode="bilinear", align_corners=False)
        return torch.cat([table[:, :leading], resized.flatten(2).transpose(1, 2)], 1)

    def with_buffers(self, mask):
        """Buffers are always known: (b, buffers + n), 1 where unknown."""
        return torch.cat([mask.new_zeros(len(mask), self.buffers), mask], 1)

    def encode(self, tokens, mask, grid):
        """tokens: (b, n, tok), mask: (b, n), 1 = unknown -> (b, buffers + visible, width)"""
        rows = len(tokens)
        h = torch.cat([self.fake_latent[:, None].expand(rows, self.buffers, -1), self.z_proj(tokens)], 1)
        h = self.z_proj_ln(h + self.positions(self.encoder_pos_embed_learned, grid, self.buffers))
        h = h[self.with_buffers(mask) == 0].view(rows, -1, h.shape[-1])
        for block in self.encoder_blocks:
            h = block(h)
        return self.encoder_norm(h)

    def decode(self, encoded, mask, grid, source=None):
        """encoded: (b, buffers + visible, width), source: (b, buffers + n, width) -> (b, n, width)"""
        known = self.decoder_embed(encoded)
        full = self.with_buffers(mask)
        if source is None:
            h = self.mask_token.repeat(*full.shape, 1)
        else:
            h = self.decoder_embed(source)
        h[full == 0] = known.flatten(0, 1)
        h = h + self.positions(self.decoder_pos_embed_learned, grid, self.buffers)
        for block in self.decoder_blocks:
            h = block(h)
        return self.decoder_norm(h)[:, self.buffers:] + self.positions(self.diffusion_pos_embed_learned, grid, 0)


class LanguageModelBody(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        width = c["hidden_size"] // c["num_attention_heads"]
        frequencies = 1.0 / c["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
        if c.get("rope_inv_freq_bf16"):
            frequencies = frequencies.bfloat16().float()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x, valid, past=None):
        """
        x: (b, s, width), new embeddings; valid: (b, p + s), 1 where a place of past and new counts; past: per layer keys
        and values (b, heads, p, head width) -> (b, s, width) after the last norm, and the longer past
        """
        rows, new, _ = x.shape
        total = valid.shape[1]
        positions = (valid.long().cumsum(1) - 1)[:, -new:]
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos(), angles.sin()
        place = torch.arange(total)
        sees = (place[None] <= place[total - new:, None])[None] & valid[:, None].bool()
        bias = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(x.dtype).min)[:, None]
        present = []
        for i, layer in enumerate(self.layers):
            x, cache = layer(x, cos, sin, bias, None if past is None else past[i])
            present.append(cache)
        return self.norm(x), present


class LanguageModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.model = LanguageModelBody(c)
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)


class Unipic(nn.Module):
    """Open one with `load`."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        mar, llm, vae = config["mar"], config["llm"], config["vae"]
        between = llm["hidden_size"]
        self.mar, self.llm = Mar(mar), LanguageModel(llm)
        self.proj_in = mlp2(mar["encoder_embed_dim"], between, between)
        self.proj_out = mlp2(between, between, mar["encoder_embed_dim"])
        self.vae = AutoencoderKL(vae["embed_dim"], vae["ch"], vae["ch_mult"], vae["num_res_blocks"], vae.get("num_groups", 32))
        for i, level in enumerate(self.vae.encoder.down):
            if vae["resolution"] // 2 ** i not in vae["attn_resolutions_encoder"]:
                level.attn = nn.ModuleList()
        self.diffusion = ReverseDiffusion(mar["num_sampling_steps"])

    # ---------------------------------------------------------------- pixels and latents
    def encode_pixels(self, pixels):
        """(b, 3, h, w) in [-1, 1] -> scaled latents (b, m, n, tok)"""
        mean, _ = self.vae.moments(pixels)
        return (mean * self.config["vae_scale"]).permute(0, 2, 3, 1)

    def decode_pixels(self, latents):
        """The inverse: (b, m, n, tok) -> (b, 3, h, w)"""
        return self.vae.decode((latents / self.config["vae_scale"]).permute(0, 3, 1, 2))

    # ---------------------------------------------------------------- prompts
    def embed(self, ids, source=None):
        """ids: (b, l); source: (b, image tokens, width), what stands for image tokens, in order -> (b, l, width)"""
        embeds = self.llm.model.embed_tokens(ids)
        if source is None:
            return embeds
        is_image = ids == self.config["image_token_id"]
        return embeds.masked_scatter(is_image[..., None].expand_as(embeds), source)

    def prefill(self, embeds):
        """Reads whole rows, padding included: plain causal attention, positions 0, 1, … in every row."""
        return self.llm.model(embeds, torch.ones(embeds.shape[:2], dtype=torch.long))

    # ---------------------------------------------------------------- features
    def project_in(self, encoded):
        """Encoder width to LLM width; buffers move from the front to the end."""
        z, buffers = self.proj_in(encoded), self.mar.buffers
        return torch.cat([z[:, buffers:], z[:, :buffers]], 1)

    def continue_prompt(self, z, valid, past):
        """The LLM behind the cached prompt, of which `valid` (b, p) places count: z -> hidden, buffers last in both"""
        hidden, _ = self.llm.model(z, torch.cat([valid, valid.new_ones(z.shape[:2])], 1), past)
        return hidden

    def project_out(self, encoded, hidden):
        """The LLM's answer, added to the encoder's features: (b, buffers + visible, width), buffers first"""
        buffers = self.mar.buffers
        return encoded + self.proj_out(torch.cat([hidden[:, -buffers:], hidden[:, :-buffers]], 1))

    def source_features(self, latents):
        """A whole picture (b, m, n, tok) -> encoder features, buffers first; LLM embeddings, buffers last."""
        rows, *grid, _ = latents.shape
        tokens = latents.flatten(1, 2)
        encoded = self.mar.encode(tokens, torch.zeros(tokens.shape[:2]), grid)
        return encoded, self.project_in(encoded)

    # ---------------------------------------------------------------- drawing
    def draw(self, embeds, valid, *, grid, orders, noise, steps, guidance, schedule, temperature, source=None, watch=None):
        """
        Rows of `embeds` (b, l, width) and `valid` (b, l): the pictures, then (guidance != 1) their unconditional rows.
        orders: (pictures, n) permutations; noise(step, count): (S + 1, rows, tok) where rows = conditional rows of the
        step, twice with guidance; source: (b, buffers + n, width), a source picture's features.
        watch(step, conditions, latents) sees what every step came to.
        -> latents (b, n, tok), pixels (pictures, 3, h, w)
        """
        rows = len(embeds)
        count = grid[0] * grid[1]
        guided = guidance != 1
        pictures = rows // 2 if guided else rows
        tok = self.config["mar"]["vae_embed_dim"]
        _, past = self.prefill(embeds)
        tokens = torch.zeros(rows, count, tok)
        mask = torch.ones(rows, count)
        orders = torch.cat([orders, orders]) if guided else orders
        for step in range(steps):
            encoded = self.mar.encode(tokens, mask, grid)
            hidden = self.continue_prompt(self.project_in(encoded), valid, past)
            encoded = self.project_out(encoded, hidden)
            z = self.mar.decode(encoded, mask, grid, source)
            left = math.floor(count * math.cos(math.pi / 2 * (step + 1) / steps))
            left = max(1, min(int(mask[0].sum()) - 1, left))
            following = torch.zeros_like(mask).scatter(1, orders[:, :left], 1.0)
            predict = mask.bool() if step == steps - 1 else (mask != following)
            mask = following
            conditions = z[predict]
            scale = guidance if schedule == "constant" else 1 + (guidance - 1) * (count - left) / count
            sampled = self.diffusion.sample(self.mar.diffloss.net, conditions, noise(step, len(conditions)), scale if guided else 1, temperature)
            if watch is not None:
                watch(step, conditions, sampled)
            tokens[predict] = torch.cat([sampled, sampled]) if guided else sampled
        pixels = self.decode_pixels(tokens.view(rows, *grid, tok))
        return tokens, pixels[:pictures]

    # ---------------------------------------------------------------- answering
    def tell(self, embeds, *, eos, penalty, limit):
        """Greedy words with the repetition penalty over generated ids: (ids, logits before the penalty)"""
        hidden, past = self.prefill(embeds)
        ids, logits = [], []
        valid = torch.ones(1, embeds.shape[1], dtype=torch.long)
        while True:
            scores = self.llm.lm_head(hidden[:, -1])[0]
            logits.append(scores)
            scores = scores.clone()
            seen = torch.tensor(sorted(set(ids)), dtype=torch.long)
            scores[seen] = torch.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
            ids.append(int(scores.argmax()))
            if ids[-1] == eos or len(ids) == limit:
                return ids, torch.stack(logits)
            valid = F.pad(valid, (0, 1), value=1)
            hidden, past = self.llm.model(self.embed(torch.tensor([[ids[-1]]])), valid, past)


def load(folder, config_file=None):
    """A checkpoint folder: pytorch_model.bin, kl16.ckpt and a configuration (unipic.json unless given). fp32."""
    folder = Path(folder)
    config = json.loads(Path(config_file or folder / "unipic.json").read_text())
    weights = torch.load(folder / "pytorch_model.bin", map_location="cpu")
    weights = {key: value for key, value in weights.items() if not key.startswith("siglip2") and key != "mar.class_emb.weight"}
    weights.setdefault("llm.lm_head.weight", weights["llm.model.embed_tokens.weight"])
    autoencoder = torch.load(folder / "kl16.ckpt", map_location="cpu")["model"]
    weights.update({f"vae.{key}": value for key, value in autoencoder.items() if not key.startswith("loss.")})
    model = Unipic(config)
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.eval().requires_grad_(False)
