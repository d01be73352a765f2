"""The committed starter networks, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl import checkpoints
from stackctl.imaging import Network


@pytest.fixture(scope="session")
def starter() -> Path:
    """Return the folder of the starter networks that the distribution carries."""
    return Path(checkpoints.__file__).with_name("starter")


@pytest.fixture(scope="session")
def network(starter: Path) -> Network:
    """Return starter version 2 in fp32."""
    return Network.load(starter / "v2" / "network.onnx", precision="fp32")
