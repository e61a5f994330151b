import sys, numpy as np, torch, world
from dist import load
from data import to_tensor
from vae import AutoencoderKL
torch.set_num_threads(1)
ck = load(sys.argv[1]); vae = AutoencoderKL(**ck["config"]).eval(); vae.load_state_dict(ck["model"])
rng = np.random.default_rng(31)
for kind in world.KINDS:
    sc = [world.sample_scene(rng, kind) for _ in range(60)]
    with torch.no_grad():
        z = vae.encode(to_tensor(sc))
        for noise in (0, 0.2):
            y = vae.decode(z + noise * z.std() * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)))
            im = ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
            print(kind, noise, np.mean([world.same_scene(world.detect(i), s, 4) for i, s in zip(im, sc)]), "psnr", (10*torch.log10(4/((y-to_tensor(sc))**2).mean((1,2,3)))).mean().item())
