"""What the page and its calls say about the model that serves."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from support.fake_model_server import FakeModelServer
from support.live_demo import Visitor, demo_config

from flask_demo import create_app


class TextOf(HTMLParser):
    """The words of a page, spaces collapsed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.parts).split())


def test_the_page_shows_version_figures_and_links_into_mlflow(visitor: Visitor, model_server: FakeModelServer) -> None:
    page = visitor.client.get("/").get_data(as_text=True)

    text = str(TextOf(page))
    assert "Version 1 in Production" in text
    assert "PSNR 27.41 dB +0.58 over bicubic" in text
    assert "Promoted 20 Nov 2026, 14:03 UTC" in text
    assert 'href="http://mlflow.example:5000/#/models/super-resolution/versions/1"' in page
    assert f'href="http://mlflow.example:5000/#/runs/{model_server.run_id}"' in page


def test_the_page_follows_a_promotion_on_reload(visitor: Visitor, model_server: FakeModelServer) -> None:
    visitor.client.get("/")
    model_server.promote("2")

    assert "Version 2 in Production" in visitor.client.get("/").get_data(as_text=True)


def test_a_worse_model_shows_a_minus(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.promote("-1")

    assert "−0.22 over bicubic" in visitor.client.get("/").get_data(as_text=True)


def test_without_a_version_the_page_says_what_to_type(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.promote(None)

    answer = visitor.client.get("/")

    assert answer.status_code == 200
    text = str(TextOf(answer.get_data(as_text=True)))
    assert "No version is in Production yet. Run: stackctl promote super-resolution 1" in text


def test_without_a_model_server_the_page_still_comes(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.stop()

    answer = visitor.client.get("/")

    assert answer.status_code == 200
    assert "The model server does not answer." in answer.get_data(as_text=True)
    assert visitor.client.get("/model").get_json()["production"]["reachable"] is False


def test_what_the_model_server_says_is_escaped(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.error = "<script>alert(1)</script>"
    model_server.name = "<b>model</b>"

    page = visitor.client.get("/").get_data(as_text=True)

    assert "<script>alert" not in page
    assert "<b>model" not in page


def test_an_unchanged_model_is_answered_with_304(visitor: Visitor, model_server: FakeModelServer) -> None:
    first = visitor.client.get("/model")
    tag = first.headers["ETag"]

    assert first.get_json()["production"]["version"] == "1"
    again = visitor.client.get("/model", headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")

    model_server.promote("2")
    changed = visitor.client.get("/model", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.get_json()["production"]["version"] == "2"


def test_a_candidate_in_preparation_is_told(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.candidate = {"version": "2", "state": "refused", "reason": "golden image 1 differs", "digest": None}

    page = visitor.client.get("/").get_data(as_text=True)

    assert "Version 2 was refused. golden image 1 differs Version 1 serves on." in str(TextOf(page))


def test_healthz_is_200_even_when_the_model_server_is_away() -> None:
    app = create_app(demo_config("http://127.0.0.1:1"))

    assert app.test_client().get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/static/js/main.js", "/no-such-page"])
def test_every_answer_carries_the_security_headers(visitor: Visitor, path: str) -> None:
    headers = visitor.client.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] in {"no-store", "no-cache"}


def test_no_page_has_inline_script_or_style(visitor: Visitor) -> None:
    page = visitor.client.get("/").get_data(as_text=True)

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_the_session_cookie_is_out_of_reach_for_scripts_and_posts_of_other_sites(visitor: Visitor) -> None:
    cookie = visitor.client.get("/").headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert cookie.startswith("a-stack_")


def test_reloading_the_address_of_the_form_leads_to_the_page(visitor: Visitor) -> None:
    answer = visitor.client.get("/upscale")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_an_unknown_page_is_told_in_a_sentence(visitor: Visitor) -> None:
    answer = visitor.client.get("/no-such-page", headers={"Accept": "text/html"})

    assert answer.status_code == 404
    assert "Not Found." in answer.get_data(as_text=True)
