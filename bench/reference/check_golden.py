"""
Does the reference equal the recordings of the original code?

    python3 bench/reference/check_golden.py [folder with golden configurations, or one of them]

Prints the largest deviation of every recorded file, relative to max(1, largest recorded value), and fails above the
limits of the recordings' README: 3e-5 for stages, 1e-4 for runs; ids and shapes must be equal.
"""
import json
import sys
from pathlib import Path

import unipic
import numpy as np
import torch

STAGE_LIMIT, RUN_LIMIT = 3e-5, 1e-4
DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}


class Recording:
    """A safetensors file: tensors by name and the run's parameters."""

    def __init__(self, file):
        raw = file.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        self.entries = json.loads(raw[8:8 + length])
        self.parameters = self.entries.pop("__metadata__", {})
        self.body = raw[8 + length:]

    def __contains__(self, name):
        return name in self.entries

    def __getitem__(self, name):
        entry = self.entries[name]
        start, end = entry["data_offsets"]
        values = np.frombuffer(self.body[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        return torch.from_numpy(values.astype(np.float32) if entry["dtype"] == "F64" else values.copy())

    def number(self, name):
        return float(self.parameters[name])


class Deviations:
    def __init__(self):
        self.worst, self.where = 0.0, ""

    def add(self, name, actual, expected):
        assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, recorded {tuple(expected.shape)}"
        error = float((actual - expected).abs().max() / max(1.0, float(expected.abs().max())))
        if not error <= self.worst:
            self.worst, self.where = error, name


def check_stages(model, file):
    r, found = Recording(file), Deviations()
    grid = [int(r.number("m")), int(r.number("n"))]
    check = lambda name, actual: found.add(name, actual, r[name])
    check("vae_decode.out.pixels", model.decode_pixels(r["vae_decode.in.tokens"]))
    latents = model.encode_pixels(r["vae_encode.in.pixels"])
    check("vae_encode.out.latent", latents)
    encoded = model.mar.encode(r["mar_encoder.in.tokens"], r["mar_encoder.in.mask"], grid)
    check("mar_encoder.out.x_enc", encoded)
    z = model.project_in(encoded)
    check("mar_encoder.out.z_enc", z)
    hidden, past = model.prefill(model.embed(r["llm_prefill.in.input_ids"]))
    check("llm_prefill.out.hidden", hidden)
    for i, (keys, values) in enumerate(past):
        check(f"llm_prefill.out.k.{i}", keys)
        check(f"llm_prefill.out.v.{i}", values)
    answered = model.project_out(encoded, model.continue_prompt(z, r["llm_prefill.in.attention_mask"].long(), past))
    check("mae_encoder_llm.out.x_enc", answered)
    check("decoder.out.z", model.mar.decode(answered, r["mar_encoder.in.mask"], grid))
    source, features = model.source_features(r["vae_encode.out.latent"])
    check("visual_feature.out.x_con", source)
    check("visual_feature.out.z_enc", features)
    check("decoder_xcon.out.z", model.mar.decode(answered, r["mar_encoder.in.mask"], grid, source.repeat(2, 1, 1)))
    net, x, t, c = model.mar.diffloss.net, r["diffnet.in.x"], r["diffnet.in.t"], r["diffnet.in.c"]
    check("diffnet.out", net(x, t, c))
    check("diffnet_cfg3.out", model.diffusion.evaluate(net, x, t, c, 3.0))
    noise = r["diffsample_cfg.in.noise"]
    check("diffsample_cfg.out", model.diffusion.sample(net, r["diffsample_cfg.in.z"], both_halves(noise), 3.0, 0.85))
    check("diffsample_plain.out", model.diffusion.sample(net, r["diffsample_plain.in.z"], r["diffsample_plain.in.noise"], 1, 1.0))
    return found, STAGE_LIMIT


def both_halves(noise):
    """The unconditional half's noise is not recorded, because nothing reads it."""
    return torch.cat([noise, torch.randn_like(noise)], 1)


def check_run(model, file):
    r, found = Recording(file), Deviations()
    guidance = r.number("cfg")
    ids = r["in.input_ids"]
    source = features = None
    if "in.pixels" in r:
        source, features = (t.repeat(len(ids), 1, 1) for t in model.source_features(model.encode_pixels(r["in.pixels"])))
        found.add("mid.x_con", source[:1], r["mid.x_con"])
        found.add("mid.z_src", features[:1], r["mid.z_src"])

    def noise(step, _):
        recorded = r[f"in.noise.{step}"]
        return both_halves(recorded) if guidance != 1 else recorded

    def watch(step, conditions, latents):
        found.add(f"mid.latents.{step}", latents, r[f"mid.latents.{step}"])
        if f"mid.z.{step}" in r:
            found.add(f"mid.z.{step}", conditions, r[f"mid.z.{step}"])

    tokens, pixels = model.draw(
        model.embed(ids, features), r["in.attention_mask"].long(), grid=[int(r.number("m")), int(r.number("n"))],
        orders=r["in.orders"].long(), noise=noise, steps=int(r.number("num_iter")), guidance=guidance,
        schedule=r.parameters["cfg_schedule"], temperature=r.number("temperature"), source=source, watch=watch)
    found.add("out.tokens", tokens[:len(pixels)], r["out.tokens"])
    found.add("out.image", pixels, r["out.image"])
    return found, RUN_LIMIT


def check_answers(model, file):
    r, found = Recording(file), Deviations()
    _, features = model.source_features(model.encode_pixels(r["in.pixels"]))
    embeds = model.embed(r["in.input_ids"], features)
    limit, penalty = int(r.number("max_new_tokens")), r.number("penalty")
    for name, factor, eos in (("plain", 1.0, "eos_token_id"), ("penalty", penalty, "eos_token_id"), ("stop", penalty, "stop_run_eos_token_id")):
        ids, logits = model.tell(embeds, eos=int(r.number(eos)), penalty=factor, limit=limit)
        assert ids == r[f"{name}.out.ids"][0].tolist(), f"{file}: {name} gave other words"
        if f"{name}.out.logits" in r:
            found.add(f"{name}.out.logits", logits, r[f"{name}.out.logits"])
    return found, RUN_LIMIT


def check_configuration(folder):
    """-> True where everything is within its limit"""
    model = unipic.load(folder / "checkpoint", folder / "config.json")
    good = True
    for file in sorted(folder.glob("*.safetensors")):
        if file.stem == "schedule":
            continue
        check = {"stages": check_stages, "i2t": check_answers}.get(file.stem, check_run)
        found, limit = check(model, file)
        within = found.worst <= limit
        good = good and within
        print(f"{'ok  ' if within else 'FAIL'} {folder.name}/{file.stem}: {found.worst:.1e} of {limit:.0e} ({found.where})")
    return good


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "test/golden")
    folders = [folder for folder in [root, *sorted(root.iterdir())] if (folder / "checkpoint").is_dir()]
    if not folders:
        sys.exit(f"{root} holds no golden configuration")
    torch.set_num_threads(1)
    with torch.no_grad():
        results = [check_configuration(folder) for folder in folders]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
