"""Networks by name and file, with a stand-in for the environment that has torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from stackctl import distribution
from stackctl.checkpoints import catalogue
from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.checkpoints.networks import NetworkFile, prepare
from stackctl.errors import StackctlError, UsageError
from stackctl.process import Completed, ProcessFailed


class Torch:
    """Stands for the training environment: converts everything into the first starter, or fails as it is told."""

    def __init__(self, bf16: float = 55.0, failure: str | None = None) -> None:
        self.calls: list[list[str]] = []
        self.bf16 = bf16
        self.failure = failure

    def __call__(self, argv: Sequence[str], mounts: Mapping[Path, str], on_line: Callable[[str], None]) -> str:
        [(work, target)] = mounts.items()
        command = [part.replace(f"{{mount:{target}}}", str(work)) for part in argv]
        self.calls.append(command)
        assert Path(command[command.index("--checkpoint") + 1]).is_file()
        out = Path(command[command.index("--out") + 1])
        out.mkdir()
        on_line("converting")
        if self.failure is not None:
            raise ProcessFailed(Completed(tuple(command), 1, self.failure, ""))
        shutil.copytree(STARTER / "v1", out, dirs_exist_ok=True)
        (out / "report.json").write_text(json.dumps({"fidelity": {"bf16": {"psnr_db": self.bf16}}}))
        return ""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    return file


def ask(what: str | Path, torch: Torch, **options: str | float) -> NetworkFile:
    """Prepare a network and be told nothing."""
    return prepare(str(what), run=torch, progress=lambda _subject, _what: None, **options)  # type: ignore[arg-type]


def made() -> list[str]:
    """Return the names in the cache of networks."""
    return [folder.name for folder in (distribution.cache_folder() / "networks").iterdir()]


def test_a_checkpoint_is_converted_once_whatever_its_name(checkpoint: Path, tmp_path: Path) -> None:
    torch = Torch()

    first = ask(checkpoint, torch)
    second = ask(checkpoint.rename(tmp_path / "other.pth"), torch)

    assert first.path == second.path
    assert (len(torch.calls), len(made())) == (1, 1)
    assert first.golden is not None
    assert (first.golden / "manifest.json").is_file()
    assert (first.source, second.source) == ("mine.pth", "other.pth")


@pytest.mark.parametrize(("measured", "allowed"), [(50.0, True), (49.9, False)])
def test_bf16_is_allowed_from_50_db_on(checkpoint: Path, measured: float, allowed: bool) -> None:
    assert ask(checkpoint, Torch(bf16=measured)).bf16_allowed is allowed


def test_a_conversion_that_fails_says_its_own_reason_and_leaves_nothing(checkpoint: Path) -> None:
    said = 'noise\n{"error": {"message": "mine.pth was refused.", "hint": "Take another."}}\n'
    with pytest.raises(StackctlError) as caught:
        ask(checkpoint, Torch(failure=said))
    assert (caught.value.message, caught.value.hint) == ("mine.pth was refused.", "Take another.")
    with pytest.raises(ProcessFailed):
        ask(checkpoint, Torch(failure="Traceback: a crash"))
    assert made() == []


def test_the_starters_and_onnx_files_need_no_torch(tmp_path: Path) -> None:
    torch = Torch()
    shutil.copyfile(STARTER / "v1" / "network.onnx", tmp_path / "mine.onnx")

    assert ask("starter", torch).path == STARTER / "v2" / "network.onnx"
    assert ask("starter-v1", torch).bf16_allowed
    bare = ask(tmp_path / "mine.onnx", torch)
    assert (bare.path, bare.golden, bare.bf16_allowed) == (tmp_path / "mine.onnx", None, False)
    assert torch.calls == []


def test_denoising_mixes_in_the_twin_by_upstreams_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    from dataclasses import replace

    for name in ("realesr-general-x4v3", "realesr-general-wdn-x4v3"):
        (tmp_path / f"{name}.pth").write_bytes(name.encode())
        pinned = replace(catalogue.CATALOGUE[name], sha256=hashlib.sha256(name.encode()).hexdigest())
        monkeypatch.setitem(catalogue.CATALOGUE, name, pinned)
    torch = Torch()

    mixed = ask("realesr-general-x4v3", torch, source=str(tmp_path), denoise=0.3)
    pure = ask("realesr-general-x4v3", torch, source=str(tmp_path), denoise=1.0)

    assert mixed.path != pure.path
    assert torch.calls[0][-4:] == ["--twin", torch.calls[0][-3], "--denoise", "0.3"]
    assert torch.calls[0][-3].endswith("twin-realesr-general-wdn-x4v3.pth")
    assert "--twin" not in torch.calls[1]
    assert mixed.source == "realesr-general-x4v3 (denoise 0.3)"
    with pytest.raises(UsageError, match="between 0 and 1"):
        ask("realesr-general-x4v3", torch, denoise=1.5)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"ends in '\.txt'"):
        ask(tmp_path / "notes.txt", Torch())


@pytest.mark.parametrize("name", ["mine.pth", "mine.safetensors", "mine.onnx"])
def test_an_empty_file_is_refused_before_torch_is_prepared(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    torch = Torch()

    with pytest.raises(UsageError, match="is empty"):
        ask(tmp_path / name, torch)
    assert torch.calls == []
