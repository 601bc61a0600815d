"""Simulated bake-offs: methods, trained with several seeds, answer the same questions right or wrong.

Shape legend: r random draws, s seeds, G groups (clusters).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

# Spread of the clusters on the scale of a normal distribution: what both methods find hard, and what one of them does.
SHARED, OWN = 0.6, 0.4
# Questions of a cluster: 1,000 or so in 60 of unequal size.
SIZES = 1 + np.random.default_rng(0).poisson(1000 / 60 - 1, size=60)
# For the mean of a function of a normal variable.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def latent(rate: float, spread: float) -> tuple[float, float]:
    """Mean and spread over seeds, on the scale of a normal distribution, of a method that is right at `rate`.

    spread: standard deviation of its accuracy over seeds. A question is answered rightly with the probability
    Phi(mean + seed + cluster), the mean of which over seeds and clusters is known in closed form, and so is the truth.
    """
    clusters = SHARED**2 + OWN**2

    def mean(seeds: float) -> float:
        return ndtri(rate) * np.sqrt(1 + clusters + seeds**2)

    def deviation(seeds: float) -> float:
        accuracy = ndtr((mean(seeds) + seeds * NODES) / np.sqrt(1 + clusters))
        return np.sqrt(np.average((accuracy - rate) ** 2, weights=WEIGHTS))

    seeds = brentq(lambda value: deviation(value) - spread, 0.0, 5.0)
    return mean(seeds), seeds


def answered(
    rng: np.random.Generator, draws: int, seeds: int, rates: Sequence[float], spreads: Sequence[float]
) -> list[np.ndarray]:
    """Right answers [r, s, G] of each method; seeds and clusters are new in every draw, the same for all methods."""
    shared_rG = SHARED * rng.standard_normal((draws, 1, len(SIZES)), dtype=np.float32)
    right = []
    for rate, spread in zip(rates, spreads, strict=True):
        mean, deviation = latent(rate, spread)
        seed_rs = deviation * rng.standard_normal((draws, seeds, 1), dtype=np.float32)
        own_rG = OWN * rng.standard_normal((draws, 1, len(SIZES)), dtype=np.float32)
        right.append(rng.binomial(SIZES, ndtr(mean + seed_rs + shared_rG + own_rG)))
    return right
