"""What goes into a version, without a registry."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from stackctl.checkpoints.image_package import ImagePackage
from stackctl.checkpoints.log_starter import packages
from stackctl.checkpoints.packaging import log_image_model, requirements, vendor_imaging
from stackctl.errors import StackctlError


def test_the_imaging_code_travels_under_a_name_that_its_content_determines(tmp_path: Path) -> None:
    first, second = vendor_imaging(tmp_path / "a"), vendor_imaging(tmp_path / "b")
    assert re.fullmatch(r"stackctl_imaging_[0-9a-f]{8}", first.name)
    assert first.name == second.name
    assert (first / "__init__.py").is_file()
    assert not list(first.rglob("__pycache__"))


def test_the_travelling_code_works_where_stackctl_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = vendor_imaging(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {name for name in sys.modules if name.startswith("stackctl.")}
    module = importlib.import_module(copy.name)
    assert Path(str(module.__file__)).parent == copy
    assert {name for name in sys.modules if name.startswith("stackctl.")} == before


def test_requirements_are_exact_and_name_no_index() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][^\s]*", line) for line in requirements())


def test_the_starter_networks_are_carried_with_golden_pairs_and_metrics() -> None:
    first, second = packages()
    assert [first.source, second.source] == ["starter-v1", "starter-v2"]
    assert first.network_sha256 != second.network_sha256
    for package in (first, second):
        manifest = json.loads((package.golden / "manifest.json").read_text())
        assert all((package.golden / pair["output"]).is_file() for pair in manifest["pairs"])
        assert {"psnr_y", "ssim_y", "psnr_y_bicubic", "ssim_y_bicubic"} <= package.metrics.keys()


def test_a_folder_without_networks_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match="starter"):
        packages(tmp_path)


def test_a_network_without_golden_pairs_is_no_image_model(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(b"onnx")
    package = ImagePackage(tmp_path / "network.onnx", tmp_path / "golden", "test")
    with pytest.raises(StackctlError, match=r"manifest\.json"):
        log_image_model(package, name="m", experiment="e")
