"""What a person reads when the registry does not do what was asked; no MLflow needed."""

from __future__ import annotations

import httpx
import pytest
from support.ports import free_port

from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.models import Registry, resolve


def registry_that_answers(status: int, content: str) -> Registry:
    answer = httpx.MockTransport(lambda _request: httpx.Response(status, text=content))
    return Registry("http://mlflow.test", transport=answer)


def test_a_server_that_is_not_there_is_unhealthy_and_the_hint_says_how_to_start_it() -> None:
    registry = Registry(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unhealthy) as caught:
        registry.models()
    assert "cannot be reached" in caught.value.message
    assert "stackctl up" in (caught.value.hint or "")


def test_something_else_on_the_port_is_not_taken_for_mlflow() -> None:
    with pytest.raises(Unhealthy, match="not an MLflow server"):
        registry_that_answers(200, "<html>hello</html>").models()


def test_a_failing_server_is_unhealthy() -> None:
    with pytest.raises(Unhealthy, match="HTTP 500"):
        registry_that_answers(500, "boom").models()


def test_refused_access_names_the_token() -> None:
    with pytest.raises(StackctlError) as caught:
        registry_that_answers(401, "no").models()
    assert "mlflow_token" in (caught.value.hint or "")


def test_mlflows_own_words_reach_the_person() -> None:
    answer = '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Alias is reserved."}'
    with pytest.raises(StackctlError, match=r"Alias is reserved\."):
        registry_that_answers(400, answer).set_alias("m", "latest", "1")


def test_the_token_travels_as_a_bearer_token() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200, json={"registered_models": []})

    Registry("http://mlflow.test", token="abc", transport=httpx.MockTransport(answer)).models()
    assert seen == ["Bearer abc"]


@pytest.mark.parametrize("word", ["", "zero", "1.5", "-1", "0", "²"])
def test_a_word_that_is_no_version_number_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError):
        resolve(registry_that_answers(500, ""), "m", word)


def test_every_page_of_a_long_list_is_read() -> None:
    pages = {
        None: {"registered_models": [{"name": "b", "creation_timestamp": 0}], "next_page_token": "next"},
        "next": {"registered_models": [{"name": "a", "creation_timestamp": 0}]},
    }
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json=pages[request.url.params.get("page_token")]))
    assert [model.name for model in Registry("http://mlflow.test", transport=answer).models()] == ["a", "b"]
