"""
Runs the reference for a bench: one JSON object a line on standard input, one line of answer each on standard output.

    {"open": checkpoint folder}                              -> {"torch": version}
    {"prepare": task, "inputs": {name: tensor or number}}    -> {}
    {"run": task, "times": count}                            -> {"wallMs", "cpuMs"}, of all the runs together
    {"result": task}                                         -> {name: tensor}, of the last run

A tensor is {"shape": [...], "type": "float32" or "int64", "data": base64 of its values}. Time is measured here, between
the first run and the last, so that nobody pays for this conversation; CPU time is that of the whole process.
"""
import base64
import json
import sys
import time

import unipic
import numpy as np
import torch


class Server:
    def __init__(self):
        self.model, self.tasks, self.results = None, {}, {}

    def answer(self, message):
        if "open" in message:
            self.model = unipic.load(message["open"])
            return {"torch": torch.__version__}
        if "prepare" in message:
            inputs = {name: tensor_of(value) if isinstance(value, dict) else value for name, value in message["inputs"].items()}
            self.tasks[message["prepare"]] = getattr(self, message["prepare"])(**inputs)
            return {}
        if "run" in message:
            return self.run(message["run"], message["times"])
        if "result" in message:
            return {name: message_of(tensor) for name, tensor in self.results[message["result"]].items()}
        raise ValueError(f"unknown message {list(message)}")

    def run(self, name, times):
        task = self.tasks[name]
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            result = task()
        measured = {"wallMs": (time.perf_counter() - wall) * 1e3, "cpuMs": (time.process_time() - cpu) * 1e3}
        self.results[name] = result
        return measured

    # Every task takes its inputs and returns the function to measure, which returns tensors by name.
    def text_to_image(self, ids, valid, orders, noise, grid, predicted, steps, guidance, temperature):
        noises = both_halves(noise, predicted)

        def draw():
            tokens, pixels = self.model.draw(
                self.model.embed(ids), valid, grid=grid, orders=orders, noise=lambda step, _: noises[step], steps=steps,
                guidance=guidance, schedule="constant", temperature=temperature)
            bytes_ = (127.5 * pixels + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
            return {"tokens": tokens[:len(pixels)], "bytes": bytes_.float()}
        return draw

    def prefill(self, ids):
        def prefill():
            hidden, past = self.model.prefill(self.model.embed(ids))
            return {"hidden": hidden, "first_row_keys": past[-1][0][0]}
        return prefill

    def mar_encoder(self, tokens, mask, grid):
        def encode():
            encoded = self.model.mar.encode(tokens, mask, grid)
            return {"x_enc": encoded, "z_enc": self.model.project_in(encoded)}
        return encode

    def llm(self, ids, valid, z):
        _, past = self.model.prefill(self.model.embed(ids))
        return lambda: {"hidden": self.model.continue_prompt(z, valid, past)}

    def mar_decoder(self, encoded, hidden, mask, grid):
        return lambda: {"z": self.model.mar.decode(self.model.project_out(encoded, hidden), mask, grid)}

    def diffusion(self, conditions, noise, guidance, temperature):
        both = both_halves(noise, [noise.shape[1]])[0]
        net = self.model.mar.diffloss.net
        return lambda: {"latents": self.model.diffusion.sample(net, conditions, both, guidance, temperature)}

    def vae_decode(self, latents):
        return lambda: {"pixels": self.model.decode_pixels(latents)}

    def vae_encode(self, pixels):
        return lambda: {"latents": self.model.encode_pixels(pixels)}


def both_halves(noise, counts):
    """(S + 1, sum of counts, tok) -> for each count (S + 1, 2 * count, tok): the unconditional half's noise is read by
    nobody, so it need not be given. Drawing noise is not part of what is measured here."""
    return [torch.cat([part, torch.randn_like(part)], 1) for part in noise.split(counts, 1)]


def tensor_of(message):
    values = np.frombuffer(base64.b64decode(message["data"]), message["type"]).reshape(message["shape"])
    return torch.from_numpy(values.copy())


def message_of(tensor):
    values = tensor.contiguous().float().numpy()
    return {"shape": list(tensor.shape), "type": "float32", "data": base64.b64encode(values.tobytes()).decode()}


def main():
    torch.set_num_threads(1)
    server = Server()
    with torch.no_grad():
        for line in sys.stdin:
            print(json.dumps(server.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
