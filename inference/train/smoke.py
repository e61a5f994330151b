"""Runs every stage for seconds, in a temporary folder: python3 smoke.py. Shows that it runs, not that it learns."""
import os, signal, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*args, **kw):
    print("$", *args[0:6], "…", flush=True)
    return subprocess.run([sys.executable, *args], cwd=HERE, check=True, **kw)


with tempfile.TemporaryDirectory() as runs:
    at = lambda name: os.path.join(runs, name)
    run("bpe.py", runs, stdout=subprocess.DEVNULL)
    for minutes in ("0.05", "0.1"):                          # the second one goes on
        run("train_vae.py", "--out", at("vae"), "--minutes", minutes, "--procs", "1", "--batch", "2")
    first, second = (int(line.split()[2]) for line in open(at("vae.log")) if line.startswith("EVAL"))
    assert second > first > 0, (first, second)
    run("data.py", at("vae.ckpt"), at("pool_1.pt"), "1", "40")
    train = ["train.py", "--procs", "2", "--pool", at("pool_*.pt"), "--tok", at("tokenizer.json"), "--out", at("m"), "--batch", "4", "2", "2", "--log_every", "1"]
    child = subprocess.Popen([sys.executable, *train, "--steps", "100000"], cwd=HERE, start_new_session=True)
    while not os.path.exists(at("m.log")) or open(at("m.log")).read().count("step ") < 3:
        time.sleep(0.2)
        assert child.poll() is None, "training ended early"
    os.killpg(child.pid, signal.SIGTERM)                     # interrupted …
    child.wait()
    deadline = time.time() + 20
    while not os.path.exists(at("m.pt")):
        time.sleep(0.2)
        assert time.time() < deadline, "an interrupted training saved nothing"
    done = open(at("m.log")).read().count("step ")
    run(*train, "--steps", str(done + 3))                    # … and continued
    text = open(at("m.log")).read()
    assert f"step {done + 3} " in text and "done" in text, text[-500:]
    run("export.py", "--model", at("m.pt"), "--vae", at("vae.ckpt"), "--tokenizer", runs, "--out", at("checkpoint"))
    assert os.path.exists(at("checkpoint/unipic.json"))
print("every stage runs")
