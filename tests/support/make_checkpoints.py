"""Writes small checkpoints with seeded weights, and hostile ones: ``python make_checkpoints.py FOLDER``, beside torch.

The names and shapes are those of Real-ESRGAN's SRVGGNetCompact and RRDBNet.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import torch


def main(folder: Path) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    compact, twin = compact_state(seed=1), compact_state(seed=2)
    torch.save({"params": compact}, folder / "compact.pth")
    torch.save({"params": twin}, folder / "twin.pth")
    mixed = {name: 0.3 * tensor + (1 - 0.3) * twin[name] for name, tensor in compact.items()}
    torch.save({"params": mixed}, folder / "mixed.pth")
    torch.save({"params_ema": rrdb_state(seed=3), "params": rrdb_state(seed=4)}, folder / "rrdb_x4.pth")
    torch.save(rrdb_state(seed=5, unshuffle=2), folder / "rrdb_x2.pth")
    from safetensors.torch import save_file  # type: ignore[import-not-found, unused-ignore]

    save_file(compact, folder / "compact.safetensors")
    hostile(folder, compact)


def hostile(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write files that must be refused; `ran` is what the bombs would create."""
    bomb = Bomb(f"open({str(folder / 'ran')!r}, 'w').close()")
    torch.save({"params": state, "extra": bomb}, folder / "bomb.pth")
    (folder / "bare_bomb.pth").write_bytes(pickle.dumps({"params": bomb}, protocol=2))
    torch.save(torch.nn.Conv2d(3, 3, 3), folder / "module.pth")
    torch.save({"params": {"body.0.weight": torch.full((4, 3, 3, 3), torch.nan)}}, folder / "nan.pth")
    torch.save({"params": {"fc.weight": torch.zeros(2, 2)}}, folder / "foreign.pth")
    whole = (folder / "compact.pth").read_bytes()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pth").write_bytes(b"")


class Bomb:
    """A pickle of it runs an expression when it is read carelessly."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.expression,)


def compact_state(seed: int, features: int = 8, convs: int = 3, scale: int = 4) -> dict[str, torch.Tensor]:
    """Return the tensors of an SRVGGNetCompact."""
    drawn = torch.Generator().manual_seed(seed)
    widths = [3, *([features] * (convs + 1)), 3 * scale * scale]
    state: dict[str, torch.Tensor] = {}
    for layer in range(convs + 2):
        before, after = widths[layer], widths[layer + 1]
        state |= _convolution(f"body.{2 * layer}", before, after, drawn, gain=0.5 if after == features else 0.1)
        if after == features:
            state[f"body.{2 * layer + 1}.weight"] = torch.full((features,), 0.1)
    return state


def rrdb_state(seed: int, blocks: int = 2, features: int = 8, growth: int = 32, unshuffle: int = 1) -> dict[str, Any]:
    """Return the tensors of an RRDBNet for x4, or for x2 where the input is unshuffled by 2."""
    drawn = torch.Generator().manual_seed(seed)
    state = _convolution("conv_first", 3 * unshuffle**2, features, drawn, gain=1.0)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for conv in range(1, 6):
                after = features if conv == 5 else growth
                before = features + (conv - 1) * growth
                state |= _convolution(f"body.{block}.rdb{dense}.conv{conv}", before, after, drawn, gain=0.5)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        state |= _convolution(name, features, features, drawn, gain=1.0)
    state |= _convolution("conv_last", features, 3, drawn, gain=1.0)
    state["conv_last.bias"] += 0.4
    return state


def _convolution(name: str, before: int, after: int, drawn: torch.Generator, gain: float) -> dict[str, torch.Tensor]:
    weight = torch.randn(after, before, 3, 3, generator=drawn) * gain / (9 * before) ** 0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(after, generator=drawn) * 0.01}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
