"""
Conditions to latents with the work of the original's sampler: guidance doubles every row, both halves of the state are
kept and stepped, time and condition are embedded for every row at every step.
Source: src/models/mar/diffloss.py and src/models/mar/diffusion of SkyworkAI/UniPic, UniPic-1.
"""
import math

import numpy as np
import torch

BASE_STEPS = 1000
MAX_BETA = 0.2


def base_betas():
    alpha_bar = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.array([min(1 - alpha_bar((i + 1) / BASE_STEPS) / alpha_bar(i / BASE_STEPS), MAX_BETA) for i in range(BASE_STEPS)])


def equally_spaced(steps):
    """The base steps that a run of `steps` keeps; halves round to even, as Python's round does."""
    stride = (BASE_STEPS - 1) / (steps - 1) if steps > 1 else 1
    position, times = 0.0, []
    for _ in range(steps):
        times.append(round(position))
        position += stride
    return np.array(times)


class ReverseDiffusion:
    """steps: the original's notation of one section, "100"."""

    def __init__(self, steps):
        self.times = equally_spaced(int(steps))
        kept = np.cumprod(1 - base_betas())[self.times]
        betas = 1 - kept / np.append(1.0, kept[:-1])
        product = np.cumprod(1 - betas)
        before = np.append(1.0, product[:-1])
        variance = betas * (1 - before) / (1 - product)
        self.tables = {
            "sqrt_recip": np.sqrt(1 / product),
            "sqrt_recipm1": np.sqrt(1 / product - 1),
            "coef1": betas * np.sqrt(before) / (1 - product),
            "coef2": (1 - before) * np.sqrt(1 - betas) / (1 - product),
            "log_beta": np.log(betas),
            "log_posterior": np.log(np.append(variance[min(1, len(variance) - 1)], variance[1:])),
        }

    def of(self, name, t):
        """One coefficient for every row: fp64 tables, rounded to fp32 where used."""
        return torch.from_numpy(self.tables[name])[t].float()[:, None]

    def sample(self, net, conditions, noise, guidance, temperature):
        """
        conditions: (rows, width), conditional then unconditional with guidance; noise: (S + 1, rows, tok), first the
        initial state (whose second half is unused with guidance), then the noise of every reverse step
        -> (conditional rows, tok)
        """
        guided = guidance != 1
        half = len(conditions) // 2
        x = torch.cat([noise[0, :half], noise[0, :half]]) if guided else noise[0]
        for j, k in enumerate(range(len(self.times) - 1, -1, -1)):
            t = torch.full((len(x),), k, dtype=torch.long)
            output = self.evaluate(net, x, torch.from_numpy(self.times)[t], conditions, guidance)
            estimate, fraction = output.chunk(2, 1)
            fraction = (fraction + 1) / 2
            log_variance = fraction * self.of("log_beta", t) + (1 - fraction) * self.of("log_posterior", t)
            start = self.of("sqrt_recip", t) * x - self.of("sqrt_recipm1", t) * estimate
            mean = self.of("coef1", t) * start + self.of("coef2", t) * x
            is_not_last = (t != 0).float()[:, None]
            x = mean + is_not_last * torch.exp(0.5 * log_variance) * noise[1 + j] * temperature
        return x[:half] if guided else x

    def evaluate(self, net, x, times, conditions, guidance):
        """The network; with guidance its first half of states under both conditions, noise estimates mixed."""
        if guidance == 1:
            return net(x, times, conditions)
        half = len(x) // 2
        output = net(torch.cat([x[:half], x[:half]]), times, conditions)
        estimate, rest = output.chunk(2, 1)
        conditional, unconditional = estimate.chunk(2, 0)
        mixed = unconditional + guidance * (conditional - unconditional)
        return torch.cat([torch.cat([mixed, mixed]), rest], 1)
