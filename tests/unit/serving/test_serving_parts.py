"""The parts of the model server that need no process."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from unit.serving.fake_mlflow import FakeMlflow, FakeVersion
from unit.serving.tiny_models import write_manifest

from stackctl import process
from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.serving import artifacts
from stackctl.serving.cache import VersionCache
from stackctl.serving.client import ModelServerClient
from stackctl.serving.errors import ChildGone, Refused, ServingError
from stackctl.serving.exchange import exchange
from stackctl.serving.gate import Gate
from stackctl.serving.golden import golden_folder, replay
from stackctl.serving.registry_view import Facts, Version, production_of
from stackctl.serving.settings import ServingSettings
from stackctl.serving.spec import Report

ENVIRONMENT = {"STACKCTL_NAME": "tiny-stack", "STACKCTL_MODEL": "tiny", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("facts", "agreed", "wanted"),
    [
        (Facts(), None, None),
        (Facts(alias="2", stage="2"), None, "2"),
        (Facts(alias="2"), None, "2"),
        (Facts(stage="3"), None, "3"),
        (Facts(alias="1", stage="2"), None, "1"),
        (Facts(alias="1", stage="2"), "1", "2"),  # the stage changed
        (Facts(alias="2", stage="1"), "1", "2"),  # the alias changed
        (Facts(alias="2", stage="3"), "1", "2"),  # both did
        (Facts(alias="1", stage="2", journal="{}"), "1", "1"),
        (Facts(stage="2", journal="{}"), None, None),
    ],
)
def test_of_alias_and_stage_the_one_that_changed_is_production(
    facts: Facts, agreed: str | None, wanted: str | None
) -> None:
    assert production_of(facts, agreed) == wanted


def test_the_gate_refuses_what_exceeds_its_queue_and_whoever_waits_too_long() -> None:
    async def scenario() -> None:
        gate = Gate(concurrency=1, queue=1)
        with gate.admitted(), gate.admitted():
            with pytest.raises(ServingError, match="2 requests already") as refused, gate.admitted():
                pass
            assert refused.value.status == 429
            async with gate.turn(1):
                assert (gate.computing, gate.waiting) == (1, 1)
                with pytest.raises(ServingError, match="No turn came"):
                    async with gate.turn(0.01):
                        pass
        assert (gate.computing, gate.waiting) == (0, 0)

    asyncio.run(scenario())


def test_the_parent_imports_nothing_heavy() -> None:
    code = "import sys, stackctl.serving.__main__; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["mlflow", "numpy", "pandas", "openvino", "cv2", "PIL", "fastapi"]
    assert process.run([sys.executable, "-c", code, *heavy]).stdout == "[]\n"


def test_a_report_is_told_from_a_log_line() -> None:
    report = Report("refused", reason="no\nsuch thing", digest="sha256:1")
    assert Report.parse(report.line().strip("\n")) == report
    assert report.line().count("\n") == 2
    assert Report.parse('{"state": "prepared"}') is None
    assert Report.parse("\x1enonsense") is None


def test_the_last_known_good_version_is_remembered_only_while_its_files_are_there(tmp_path: Path) -> None:
    cache = VersionCache(tmp_path)
    version = Version("tiny", "3", "run3", digest="sha256:3", metrics={"psnr_y": 30.5}, params={"a": "b"})
    assert cache.last_known_good("tiny") is None
    cache.folder_of(version).mkdir(parents=True)
    cache.remember(version, "sha256:3")
    assert cache.last_known_good("tiny") == (version, "sha256:3")
    assert VersionCache(tmp_path).last_known_good("tiny") == (version, "sha256:3")
    cache.folder_of(version).rmdir()
    assert cache.last_known_good("tiny") is None


def test_a_version_of_another_run_has_another_folder(tmp_path: Path) -> None:
    cache = VersionCache(tmp_path)
    assert cache.folder_of(Version("tiny", "1", "run1")) != cache.folder_of(Version("tiny", "1", "run2"))
    assert cache.folder_of(Version("../tiny", "1", "run1")).resolve().is_relative_to(tmp_path)


def test_old_versions_leave_the_cache(tmp_path: Path) -> None:
    cache = VersionCache(tmp_path)
    for number in range(1, 9):
        version = Version("tiny", str(number), f"run{number}")
        cache.folder_of(version).mkdir(parents=True)
        cache.remember(version, None)
    assert len([path for path in (tmp_path / "tiny").iterdir() if path.is_dir()]) == 5
    assert cache.last_known_good("tiny") is not None


def test_artifacts_arrive_completely_or_not_at_all(tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "artifacts" / "a b").mkdir(parents=True)
    (files / "MLmodel").write_text("x")
    (files / "artifacts" / "a b" / "50%.bin").write_bytes(bytes(range(256)))
    fake = FakeMlflow("tiny")
    fake.versions["1"] = FakeVersion(files)
    fake.start()
    try:
        artifacts.fetch("mlflow-artifacts:/1", tmp_path / "cache" / "1", tracking_uri=fake.uri)
        assert (tmp_path / "cache" / "1" / "artifacts" / "a b" / "50%.bin").read_bytes() == bytes(range(256))

        (files / "MLmodel").unlink()
        with pytest.raises(Refused, match="MLmodel is missing") as refused:
            artifacts.fetch("mlflow-artifacts:/1", tmp_path / "cache" / "2", tracking_uri=fake.uri)
        assert refused.value.transient
    finally:
        fake.stop()
    with pytest.raises(Refused, match="could not be downloaded"):
        artifacts.fetch("mlflow-artifacts:/1", tmp_path / "cache" / "3", tracking_uri=fake.uri)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["1"]


def test_a_listed_file_cannot_leave_the_folder(tmp_path: Path) -> None:
    class Crooked(FakeMlflow):
        def answer(self, path: str) -> tuple[int, bytes]:
            return 200, b'{"files": [{"path": "..", "is_dir": false}]}'

    fake = Crooked("tiny")
    fake.start()
    try:
        with pytest.raises(Refused, match=r"of the name '\.\.'"):
            artifacts.fetch("mlflow-artifacts:/1", tmp_path / "1", tracking_uri=fake.uri)
    finally:
        fake.stop()
    assert list(tmp_path.iterdir()) == []


class Grey:
    """An image model that answers one grey level everywhere, four times as large."""

    def __init__(self, level: int, precision: str = "fp32") -> None:
        self._level = level
        self._precision = precision

    def upscale(self, data: bytes, **_: Any) -> tuple[bytes, dict[str, Any]]:
        with Image.open(io.BytesIO(data)) as image:
            size = (image.width * 4, image.height * 4)
        return _grey(size, self._level), {"precision": self._precision}

    def network_info(self) -> dict[str, Any]:
        return {}


def test_golden_images_allow_one_level_in_fp32_and_a_psnr_in_bf16(tmp_path: Path) -> None:
    golden = tmp_path / "artifacts" / "golden"
    golden.mkdir(parents=True)
    (golden / "in.png").write_bytes(_grey((4, 4), 0))
    (golden / "out.png").write_bytes(_grey((16, 16), 100))
    write_manifest(golden, "in.png", "out.png")
    assert golden_folder(tmp_path) == golden

    assert "1 levels off" in replay(Grey(101), golden)
    with pytest.raises(Refused, match="2 levels in fp32"):
        replay(Grey(102), golden)
    with pytest.raises(Refused, match=r"42\.1 dB in bf16"):
        replay(Grey(102, "bf16"), golden)
    (golden / "out.png").write_bytes(_grey((8, 8), 100))
    with pytest.raises(Refused, match=r"out\.png is not the file that the manifest names"):
        replay(Grey(100), golden)
    write_manifest(golden, "in.png", "out.png")
    with pytest.raises(Refused, match=r"the answer is \(16, 16, 1\) uint8, not \(8, 8, 1\)"):
        replay(Grey(100), golden)


def test_nobody_behind_a_socket_is_a_child_that_is_gone(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        writer.close()

    async def scenario() -> None:
        with pytest.raises(ChildGone):
            await exchange(str(tmp_path / "none"), "GET", "/", (), b"")
        server = await asyncio.start_unix_server(hang_up, tmp_path / "half")
        async with server:
            with pytest.raises(ChildGone):
                await exchange(str(tmp_path / "half"), "GET", "/", (), b"")

    asyncio.run(scenario())


def test_a_setting_that_cannot_be_used_is_named() -> None:
    with pytest.raises(UsageError, match="STACKCTL_SERVING_CACHE is not set"):
        ServingSettings.from_env(ENVIRONMENT)
    with pytest.raises(UsageError, match="STACKCTL_SERVING_TIMEOUT is 'soon'"):
        ServingSettings.from_env({**ENVIRONMENT, "STACKCTL_SERVING_CACHE": "c", "STACKCTL_SERVING_TIMEOUT": "soon"})


def test_the_client_tells_a_refusal_from_a_server_that_cannot_serve() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/model":
            return httpx.Response(200, text="<html>")
        code = request.content.decode()
        error = ServingError(code, f"because {code}")
        return httpx.Response(error.status, content=error.body, headers=error.headers)

    client = ModelServerClient("http://server", transport=httpx.MockTransport(answer))
    with pytest.raises(Unhealthy, match="because no_model"):
        client.upscale(b"no_model")
    with pytest.raises(StackctlError, match="because too_large") as refused:
        client.upscale(b"too_large")
    assert not isinstance(refused.value, Unhealthy)
    with pytest.raises(Unhealthy, match="is not a model server"):
        client.model()


def _grey(size: tuple[int, int], level: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, level).save(out, "PNG")
    return out.getvalue()
