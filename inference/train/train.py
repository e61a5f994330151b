"""Stage 2: trains MAR + LLM + projections + diffusion head jointly on text-to-image, editing and understanding.

The state is saved to OUT.pt every few minutes and on SIGTERM; the same command goes on from there.
"""
import argparse, copy, glob, json, os, time
import numpy as np
import torch
from bpe import Tokenizer
from data import Pool, Batcher
from dist import launch, load, stop_requests, Sync
from model import UniModel, CONFIG


def main(rank, a):
    sync = Sync(rank, a.procs)
    dev = torch.device(a.device)
    tok = Tokenizer(a.tok)
    cfg = copy.deepcopy(CONFIG)
    if a.config:
        over = json.loads(a.config)
        cfg["llm"].update(over.pop("llm", {}))
        cfg.update(over)
    cfg["llm"]["vocab_size"] = tok.size
    torch.manual_seed(a.seed)
    model = UniModel(cfg).to(dev)
    start = dict(step=0, seen=0, time=0.0)
    params = [p for n, p in model.named_parameters() if "class_emb" not in n]
    decay = [p for p in params if p.dim() > 1]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=a.wd), dict(params=[p for p in params if p.dim() <= 1], weight_decay=0.0)],
                            lr=a.lr, betas=(0.9, a.beta2), **(dict(fused=True) if dev.type == "cuda" else {}))
    if a.init:
        model.load_state_dict(load(a.init, dev)[a.init_from])
    ema = [p.detach().clone() for p in params]
    if os.path.exists(f"{a.out}.pt"):
        ck = load(f"{a.out}.pt", dev)
        model.load_state_dict(ck["raw"])
        opt.load_state_dict(ck["opt"])
        ema = [t.to(dev) for t in ck["ema_list"]]
        start = ck["progress"]
    torch.manual_seed(a.seed * 1000 + rank + start["step"])
    rng = np.random.default_rng([a.seed, rank, start["step"]])
    image_len = model.mar.seq_len + cfg["buffer_size"]
    files = sorted(glob.glob(a.pool))
    bt = Batcher(Pool.merge([load(f) for f in files]), tok, image_len, rng, dev, dense=a.dense, pairs=a.pairs)
    n_t2i, n_edit, n_i2t = a.batch
    log = open(f"{a.out}.log", "a") if rank == 0 else None
    if rank == 0:
        print(json.dumps(dict(args=vars(a), cfg=cfg, params=sum(p.numel() for p in params), images=len(bt.p.scenes), edits=len(bt.p.edits))), file=log, flush=True)
    t0 = last_save = time.time()
    step, seen, acc = start["step"], start["seen"], []
    names = ["t2i", "edit", "i2t"]
    amp = torch.autocast("cuda", torch.bfloat16) if dev.type == "cuda" else torch.autocast("cpu", enabled=False)

    def save(path):
        keep = [p.detach().clone() for p in params]
        raw = {k: v.detach().clone().cpu() for k, v in model.state_dict().items()}
        with torch.no_grad():
            for p, e in zip(params, ema):
                p.copy_(e)
            sm = {k: v.detach().clone().cpu() for k, v in model.state_dict().items()}
            for p, k in zip(params, keep):
                p.copy_(k)
        torch.save(dict(model=sm, raw=raw, opt=opt.state_dict(), ema_list=ema, config=cfg,
                        progress=dict(step=step, seen=seen, time=start["time"] + time.time() - t0)), path + ".tmp")
        os.replace(path + ".tmp", path)

    stop = stop_requests()
    while not sync.agree(float(bool(stop))):
        el = start["time"] + time.time() - t0
        prog = sync.agree(min(1.0, el / (60 * a.minutes)) if not a.steps else step / a.steps)
        if prog >= 1:
            break
        # warm-up, then flat, then linear decay over the last part: the end can be moved while running
        lr = a.lr * min(1, (step + 1) / a.warmup) * min(1.0, max(0.02, (1 - prog) / a.decay))
        for g in opt.param_groups:
            g["lr"] = lr
        opt.zero_grad(set_to_none=True)
        ls = [torch.zeros((), device=dev)] * 3
        for i, (nm, n) in enumerate(zip(names, (n_t2i, n_edit, n_i2t))):
            if not n:
                continue
            with amp:
                if nm == "t2i":
                    d = bt.t2i(n)
                    loss = model.image_loss(d["x"], d["ids"], d["valid"], rng)
                elif nm == "edit":
                    d = bt.edit(n)
                    loss = model.image_loss(d["x"], d["ids"], d["valid"], rng, tok.image, d["x_src"])
                else:
                    d = bt.i2t(n)
                    loss = model.text_loss(d["x"], d["ids"], d["valid"], d["labels"], tok.image)
            (loss * a.weights[i]).backward()
            ls[i] = loss.detach()
        for p in params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        sync.average([p.grad for p in params])
        gn = torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        d = min(a.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_mul_(ema, d)
            torch._foreach_add_(ema, params, alpha=1 - d)
        step += 1
        seen += sum(a.batch) * a.procs
        acc = acc[-a.log_every + 1:] + [torch.stack([l.float() for l in ls] + [gn.float()])]
        if step % 100 == 0 and sorted(glob.glob(a.pool)) != files:      # shards may arrive while training runs
            files = sorted(glob.glob(a.pool))
            bt.p = Pool.merge([load(f) for f in files])
            if rank == 0:
                print(f"pool: {len(files)} shards, {len(bt.p.scenes)} images, {len(bt.p.edits)} edits", file=log, flush=True)
        if rank == 0 and step % a.log_every == 0:
            m = torch.stack(acc).mean(0).tolist()
            el = start["time"] + time.time() - t0
            print(f"step {step} seen {seen} t {el:.0f} t2i {m[0]:.4f} edit {m[1]:.4f} i2t {m[2]:.4f} gn {m[3]:.2f} lr {lr:.2e} smp/s {(seen-start['seen'])/(time.time()-t0):.1f}", file=log, flush=True)
        if rank == 0 and time.time() - last_save > a.save_every:
            last_save = time.time()
            save(f"{a.out}.pt")
    if rank == 0:
        save(f"{a.out}.pt")
        print("stopped" if stop else "done", step, seen, file=log, flush=True)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--pool", required=True, help="shards written by data.py, as a pattern")
    ap.add_argument("--tok", default="runs/tokenizer.json")
    ap.add_argument("--out", required=True)
    ap.add_argument("--config", default=None, help="JSON overrides of model.CONFIG")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--procs", type=int, default=2)
    ap.add_argument("--batch", type=int, nargs=3, default=[16, 6, 6], help="t2i edit i2t, per process")
    ap.add_argument("--weights", type=float, nargs=3, default=[1.0, 0.5, 0.3])
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--dense", type=float, default=0.5, help="share of text-to-image prompts that name every place")
    ap.add_argument("--pairs", type=float, default=0.6, help="share of text-to-image scenes that are pairs in free colours: they take longest")
    ap.add_argument("--wd", type=float, default=0.02)
    ap.add_argument("--beta2", type=float, default=0.95)
    ap.add_argument("--warmup", type=int, default=200)
    ap.add_argument("--decay", type=float, default=0.4)
    ap.add_argument("--ema", type=float, default=0.998)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--init", default=None, help="warm start: weights only")
    ap.add_argument("--init_from", default="raw", choices=["raw", "model"])
    ap.add_argument("--save_every", type=float, default=180)
    ap.add_argument("--log_every", type=int, default=50)
    a = ap.parse_args()
    launch(main, a.procs, a)
