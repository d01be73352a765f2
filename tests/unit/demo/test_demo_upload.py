"""A photo goes to the model server and comes back, or a sentence says why not."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from support.fake_model_server import FakeModelServer, Refusal
from support.live_demo import Visitor, demo_config, photo

from flask_demo import create_app


def test_the_result_names_the_version_and_run_that_made_it(visitor: Visitor, model_server: FakeModelServer) -> None:
    sent = photo(32, 24)

    answer = visitor.send(sent, "My holiday.png")

    assert answer.status_code == 200
    assert answer.content_type == "image/png"
    with Image.open(io.BytesIO(answer.data)) as result:
        assert result.size == (128, 96)
    assert model_server.received[0].body == sent
    assert answer.headers["X-Stackctl-Model-Version"] == "1"
    assert answer.headers["X-Stackctl-Run"] == model_server.run_id
    assert answer.headers["X-Demo-Version-Url"].endswith("/#/models/super-resolution/versions/1")
    assert answer.headers["X-Demo-Run-Url"].endswith(f"/#/runs/{model_server.run_id}")
    assert 'filename="My_holiday_x4_v1.png"' in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_each_result_names_its_own_version_across_a_promotion(visitor: Visitor, model_server: FakeModelServer) -> None:
    assert visitor.send(photo()).headers["X-Stackctl-Model-Version"] == "1"
    model_server.promote("2")
    assert visitor.send(photo()).headers["X-Stackctl-Model-Version"] == "2"


@pytest.mark.parametrize(
    ("encoding", "asked", "result"),
    [
        ("PNG", "auto", "image/png"),
        ("JPEG", "auto", "image/jpeg"),
        ("WebP", "auto", "image/webp"),
        ("TIFF", "png", "image/png"),
        ("BMP", "png", "image/png"),
    ],
)
def test_every_allowed_format_goes_through_whatever_its_name_says(
    visitor: Visitor, model_server: FakeModelServer, encoding: str, asked: str, result: str
) -> None:
    answer = visitor.send(photo(encoding=encoding), "photo.exe")

    assert (answer.status_code, answer.content_type) == (200, result)
    assert model_server.received[0].query == {"format": asked}


def test_a_sample_photo_is_sent_by_its_name(visitor: Visitor, model_server: FakeModelServer) -> None:
    assert visitor.send_sample("city_street.png").status_code == 200
    assert model_server.received[0].body == photo()
    assert visitor.client.get("/samples/city_street.png").data == photo()


def test_every_sample_that_comes_with_the_demo_goes_through(model_server: FakeModelServer) -> None:
    visitor = Visitor(create_app(demo_config(model_server.url)).test_client())
    names = re.findall(r'name="sample" value="([^"]+)"', visitor.client.get("/").get_data(as_text=True))

    assert len(names) >= 3
    assert {visitor.send_sample(name).status_code for name in names} == {200}


@pytest.mark.parametrize("name", ["../../config.py", "LICENSES.md", "absent.png"])
def test_only_listed_samples_can_be_named(visitor: Visitor, model_server: FakeModelServer, name: str) -> None:
    assert visitor.send_sample(name).status_code == 400
    assert visitor.client.get(f"/samples/{name}").status_code == 404
    assert not model_server.received


@pytest.mark.parametrize(
    ("refusal", "status", "sentence"),
    [
        (Refusal(415, "unsupported_format"), 415, "The model cannot read this kind of file."),
        (Refusal(413, "too_large", "20000000 pixels"), 413, "This photo is too large for the model server."),
        (Refusal(400, "corrupt_image", "cut off"), 400, "This photo is damaged: it could not be read to its end."),
        (Refusal(409, "not_an_image_model"), 409, "The version of super-resolution in Production is not an image"),
        (
            Refusal(429, "busy", headers={"Retry-After": "3"}),
            429,
            "The model is busy with other photos. Try again in 3",
        ),
        (Refusal(504, "timeout"), 504, "The model took too long for this photo. Try a smaller one."),
        (Refusal(500, "internal", "Traceback"), 502, "The model server failed on this photo (HTTP 500)."),
        (Refusal(502, "", raw=b"<html>a proxy's page"), 502, "The model server failed on this photo (HTTP 502)."),
    ],
)
def test_a_refusal_of_the_model_server_becomes_a_sentence(
    visitor: Visitor, model_server: FakeModelServer, refusal: Refusal, status: int, sentence: str
) -> None:
    model_server.refuse(refusal)

    answer = visitor.send(photo())

    assert answer.status_code == status
    error = answer.get_json()["error"]
    told = " ".join(part for key in ("message", "hint", "command") if (part := error.get(key)))
    assert told.startswith(sentence)
    if refusal.headers:
        assert answer.headers["Retry-After"] == "3"


def test_no_version_in_production_becomes_a_sentence_with_what_to_type(
    visitor: Visitor, model_server: FakeModelServer
) -> None:
    model_server.promote(None)

    error = visitor.send(photo()).get_json()["error"]

    assert (error["message"], error["command"]) == (
        "No version is in Production yet.",
        "stackctl promote super-resolution 1",
    )


def test_a_version_whose_process_is_being_replaced_is_not_called_missing(
    visitor: Visitor, model_server: FakeModelServer
) -> None:
    model_server.refuse(Refusal(503, "no_model", "The model's process is being replaced.", {"Retry-After": "1"}))

    answer = visitor.send(photo())

    assert answer.get_json()["error"]["message"] == "The model server is restarting its model."
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_a_model_server_that_is_away_becomes_a_sentence(visitor: Visitor, model_server: FakeModelServer) -> None:
    token = visitor.token()
    model_server.stop()

    answer = visitor.client.post(
        "/upscale", data={"csrf_token": token, "photo": (io.BytesIO(photo()), "a.png")}, headers={"Accept": "image/*"}
    )

    assert answer.status_code == 502
    assert answer.get_json()["error"]["message"] == "The model server does not answer."


def test_a_model_server_that_hangs_becomes_a_sentence(model_server: FakeModelServer) -> None:
    model_server.hold.clear()
    hasty = Visitor(create_app(demo_config(model_server.url, timeout=0.5)).test_client())

    answer = hasty.send(photo())

    assert answer.status_code == 504
    assert answer.get_json()["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 400, "This file is empty."),
        (b"plain words", 415, "This file is not a photo."),
        (b"%PDF-1.7", 415, "This is a PDF document, not a photo the model can read."),
        (photo(encoding="GIF"), 415, "This is a GIF picture, not a photo the model can read."),
    ],
)
def test_a_wrong_file_never_reaches_the_model_server(
    visitor: Visitor, model_server: FakeModelServer, content: bytes, status: int, sentence: str
) -> None:
    answer = visitor.send(content, "photo.png")

    assert (answer.status_code, answer.get_json()["error"]["message"]) == (status, sentence)
    assert not model_server.received


def test_a_form_without_a_photo_is_told(visitor: Visitor) -> None:
    answer = visitor.client.post("/upscale", data={"csrf_token": visitor.token()}, headers={"Accept": "image/*"})

    assert (answer.status_code, answer.get_json()["error"]["message"]) == (400, "No photo was sent.")


@pytest.mark.parametrize("excess", [1, 200_000])
def test_a_photo_above_the_limit_is_413(model_server: FakeModelServer, excess: int) -> None:
    limit = 100_000
    visitor = Visitor(create_app(demo_config(model_server.url, max_upload_bytes=limit)).test_client())

    answer = visitor.send(photo().ljust(limit + excess, b"\0"))

    assert answer.status_code == 413
    assert answer.get_json()["error"]["message"].startswith("This file is larger than 97\N{NO-BREAK SPACE}kB")
    assert visitor.send(photo().ljust(limit, b"\0")).status_code == 200


@pytest.mark.parametrize("token", [None, "made-up"])
def test_an_upload_without_the_pages_token_is_refused(
    visitor: Visitor, model_server: FakeModelServer, token: str | None
) -> None:
    visitor.token()
    data: dict[str, object] = {"photo": (io.BytesIO(photo()), "a.png")}
    if token:
        data["csrf_token"] = token

    answer = visitor.client.post("/upscale", data=data, headers={"Accept": "application/json"})

    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "stale_page")
    assert not model_server.received


def test_a_client_above_its_rate_waits(model_server: FakeModelServer) -> None:
    visitor = Visitor(create_app(demo_config(model_server.url, rate="2 per minute")).test_client())

    statuses = [visitor.send(photo()).status_code for _ in range(3)]
    last = visitor.send(photo())

    assert statuses == [200, 200, 429]
    wait = last.headers["Retry-After"]
    assert 50 <= int(wait) <= 61
    assert last.get_json()["error"]["hint"] == f"Wait {wait} seconds, then try again."
    assert visitor.client.get("/model").status_code == 200


def test_without_javascript_the_form_answers_with_a_page(visitor: Visitor) -> None:
    visitor.accept = "text/html,application/xhtml+xml,*/*;q=0.8"

    page = visitor.send(photo()).get_data(as_text=True)

    assert "Made by super-resolution" in page
    assert 'src="data:image/png;base64,' in page
    assert 'download="a_photo_x4_v1.png"' in page


def test_without_javascript_a_wrong_file_answers_with_a_page(visitor: Visitor) -> None:
    visitor.accept = "text/html"

    answer = visitor.send(b"plain words")

    assert answer.status_code == 415
    assert "This file is not a photo." in answer.get_data(as_text=True)
