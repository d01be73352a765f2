"""The training loop: random patches, L1, Adam, one learning-rate cycle; everything drawn from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from . import degrade
from .network import Srvgg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    steps: int
    features: int = 16
    convs: int = 8
    scale: int = 4
    batch: int = 8
    patch: int = 32
    """Side of a low-resolution patch in pixels."""
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class _Pair:
    low: torch.Tensor
    high: torch.Tensor


def train(
    photos: Sequence[Pixels], recipe: Recipe, *, seed: int, progress: Callable[[int, float], None] | None = None
) -> Srvgg:
    """Return a network trained on the photos (H×W×3 uint8 sRGB); the same seed and torch give the same network.

    `progress` is called every 100 steps with the step and the mean loss since the last call.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # one order of summation on every machine, and no slower for a network this small
    draw = np.random.default_rng(seed)
    pairs = [_pair(photo, recipe.scale) for photo in _with_half_sizes(photos, recipe)]
    weights = np.array([pair.low.shape[1] * pair.low.shape[2] for pair in pairs], dtype=np.float64) ** 0.5
    weights /= weights.sum()
    network = Srvgg(recipe.features, recipe.convs, recipe.scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=recipe.steps)
    losses: list[float] = []
    for step in range(1, recipe.steps + 1):
        low, high = _batch(pairs, weights, recipe, draw)
        optimizer.zero_grad()
        loss = functional.l1_loss(network(low), high)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress and (step % 100 == 0 or step == recipe.steps):
            progress(step, sum(losses) / len(losses))
            losses.clear()
    network.eval()
    return network


def _with_half_sizes(photos: Sequence[Pixels], recipe: Recipe) -> list[Pixels]:
    """Add each photo at half its size: finer detail per pixel than most of the originals have."""
    smallest = recipe.patch * recipe.scale
    halves = [degrade.shrink(degrade.crop_to_multiple(photo, 2), 2) for photo in photos]
    return [photo for photo in (*photos, *halves) if min(photo.shape[:2]) >= smallest]


def _pair(photo: Pixels, scale: int) -> _Pair:
    high = degrade.crop_to_multiple(photo, scale)
    return _Pair(low=_tensor(degrade.shrink(high, scale)), high=_tensor(high))


def _tensor(image: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255))


def _batch(
    pairs: Sequence[_Pair], weights: NDArray[np.float64], recipe: Recipe, draw: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    lows, highs = [], []
    patch, scale = recipe.patch, recipe.scale
    for index in draw.choice(len(pairs), size=recipe.batch, p=weights):
        pair = pairs[index]
        top = int(draw.integers(0, pair.low.shape[1] - patch + 1))
        left = int(draw.integers(0, pair.low.shape[2] - patch + 1))
        low = pair.low[:, top : top + patch, left : left + patch]
        high = pair.high[:, top * scale : (top + patch) * scale, left * scale : (left + patch) * scale]
        turns, mirror, channels = int(draw.integers(4)), bool(draw.integers(2)), torch.from_numpy(draw.permutation(3))
        lows.append(_turn(low[channels], turns, mirror))
        highs.append(_turn(high[channels], turns, mirror))
    return torch.stack(lows), torch.stack(highs)


def _turn(image: torch.Tensor, turns: int, mirror: bool) -> torch.Tensor:
    turned = torch.rot90(image, turns, (1, 2))
    return turned.flip(2) if mirror else turned
