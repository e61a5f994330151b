"""Training state from an exported checkpoint: from_checkpoint.py FOLDER OUT_MODEL OUT_VAE"""
import sys, json, copy, torch
from model import UniModel, CONFIG
from vae import AutoencoderKL
folder, out_model, out_vae = sys.argv[1:4]
c = json.load(open(f"{folder}/unipic.json"))
sd = {k: v.float() for k, v in torch.load(f"{folder}/pytorch_model.bin", map_location="cpu").items() if k != "llm.lm_head.weight"}
cfg = copy.deepcopy(CONFIG); cfg["llm"]["vocab_size"] = c["llm"]["vocab_size"]
m = UniModel(cfg); print(m.load_state_dict(sd, strict=False))
torch.save(dict(model=m.state_dict(), raw=m.state_dict(), config=cfg, progress={}), out_model)
v = torch.load(f"{folder}/kl16.ckpt", map_location="cpu")["model"]
vc = dict(embed_dim=16, ch=16, ch_mult=[1,1,2,4,4], num_res_blocks=1, num_groups=2)
vae = AutoencoderKL(**vc); print(vae.load_state_dict({k: t.float() for k, t in v.items()}, strict=False))
torch.save(dict(model=vae.state_dict(), config=vc, scale=c["vae_scale"], metrics=dict(z_std=1/c["vae_scale"])), out_vae)
