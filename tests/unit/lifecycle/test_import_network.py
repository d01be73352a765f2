"""Networks of every kind on their way into a real MLflow server, by the local engine's environments."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.local_stack import make_local_stack
from support.mlflow_server import MlflowServer
from support.weights_server import weights_server

from stackctl import process
from stackctl.checkpoints import catalogue
from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.engines.environments import train_environment
from stackctl.engines.local import LocalEngine
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.import_model import import_model
from stackctl.models import ModelVersion, Registry, tags
from stackctl.stack import Stack

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "support" / "make_checkpoints.py"


@pytest.fixture
def stack(mlflow_server: MlflowServer, tmp_path: Path, shared_folder: Path | None) -> Stack:
    wheels = shared_folder / "wheels" if shared_folder else None
    with pytest.MonkeyPatch.context() as patch:
        if wheels and wheels.is_dir():
            patch.setenv("STACKCTL_WHEELHOUSE", str(wheels))
        mlflow = {"kind": "external", "tracking_uri": mlflow_server.url}
        return make_local_stack(tmp_path / "stack", mlflow=mlflow, model=f"model-{tmp_path.name}")


def take(stack: Stack, what: str | Path, **options: object) -> tuple[ModelVersion, list[str]]:
    """Import; return the version and what was said."""
    said: list[str] = []
    [version] = import_model(str(what), stack, LocalEngine(stack), lambda _, words: said.append(words), **options)  # type: ignore[arg-type]
    return version, said


def test_an_onnx_file_becomes_a_version_without_torch_and_is_found_again(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    shutil.copyfile(STARTER / "v2" / "network.onnx", file)

    version, said = take(stack, file, name="other-name")
    again, _ = take(stack, file.rename(tmp_path / "renamed.onnx"), name="other-name")

    assert (version.name, version.version, version.contract) == ("other-name", "1", "image")
    assert again.version == version.version
    assert version.tags[tags.SOURCE] == "mine.onnx"
    assert version.tags[tags.GOLDEN] == "passed"
    assert not any("train environment" in line for line in said)


def test_an_onnx_file_that_is_no_network_for_images_is_refused(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "text.onnx"
    file.write_bytes(b"no network")

    with pytest.raises(StackctlError, match=r"text\.onnx is no network for images"):
        take(stack, file)
    with Registry.of(stack) as registry:
        assert registry.find_model(stack.settings.model) is None


def test_a_name_or_file_that_is_not_there_is_said_with_what_there_is(stack: Stack) -> None:
    with pytest.raises(UsageError, match="There is no network RealESRGAN_x8plus") as caught:
        take(stack, "RealESRGAN_x8plus")
    assert "realesr-animevideov3" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"There is no file nowhere\.pth"):
        take(stack, "nowhere.pth")
    with pytest.raises(UsageError, match="has no twin"):
        take(stack, "RealESRGAN_x4plus", denoise=0.5)


@pytest.mark.train
def test_an_official_network_is_fetched_converted_once_and_registered_with_what_was_measured(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_folder: Path | None
) -> None:
    if shared_folder and (shared_folder / "wheels").is_dir():
        monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
    real = shared_folder / "weights" / "realesr-animevideov3.fp16.pth" if shared_folder else None
    if real is None or not real.is_file():
        python = train_environment(lambda _subject, _what: None)
        process.run([python, SCRIPT, str(tmp_path)], cwd=tmp_path)
        real = tmp_path / "compact.pth"
    monkeypatch.setattr("stackctl.checkpoints.networks.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("stackctl.checkpoints.download.cache_folder", lambda: tmp_path / "cache")
    content = real.read_bytes()
    entry = catalogue.CATALOGUE["realesr-animevideov3"]
    pinned = replace(entry, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(catalogue.CATALOGUE, entry.name, pinned)

    with weights_server() as mirror:
        mirror.files["mirror/realesr-animevideov3.pth"] = content
        version, said = take(stack, entry.name, place=f"{mirror.url}/mirror")
        asked = len(mirror.asked)
        again, later = take(stack, entry.name, place=f"{mirror.url}/mirror")

    assert asked == len(mirror.asked) == 1
    assert any(" of " in line and line.endswith(" MB") for line in said)
    assert any(line.startswith("converting SRVGGNetCompact x4") for line in said)
    assert not any(line.startswith("converting") for line in later)
    assert again.version == version.version
    assert version.tags["stackctl.checkpoint"] == pinned.sha256
    assert float(version.tags[tags.FIDELITY_BF16]) > 40
    assert version.tags[tags.SOURCE] == "realesr-animevideov3"
    manifest = json.loads(next((tmp_path / "cache" / "networks").glob("*/golden/manifest.json")).read_text())
    assert manifest["fidelity"]["bf16"]["measured_by"] == "torch"
    with Registry.of(stack) as registry:
        assert len(registry.versions(stack.settings.model)) == 1


@pytest.mark.train
def test_a_pickle_bomb_is_refused_in_one_sentence(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_folder: Path | None
) -> None:
    if shared_folder and (shared_folder / "wheels").is_dir():
        monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
    python = train_environment(lambda _subject, _what: None)
    process.run([python, SCRIPT, str(tmp_path)], cwd=tmp_path)

    with pytest.raises(StackctlError) as caught:
        take(stack, tmp_path / "bomb.pth")

    assert caught.value.message.startswith("bomb.pth was refused: it holds more than tensors")
    assert "\n" not in caught.value.message
    assert not (tmp_path / "ran").exists()
