"""What can go wrong, as sentences for the person in front of the page."""

from __future__ import annotations

from flask_demo.formats import ACCEPTED, name_of_other
from flask_demo.targets import PRODUCTION, Target

FORMATS = ", ".join(accepted.name for accepted in ACCEPTED[:-1]) + f" or {ACCEPTED[-1].name}"


class DemoError(Exception):
    """Ends a request with a sentence.

    `code` is for programs, `message` says what happened, `hint` what to do, and `command` is what to type in a
    terminal, where that is what helps. `detail` carries the model server's own words.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        command: str = "",
        detail: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Hold the parts of the sentence; `retry_after` is in seconds."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.command = command
        self.detail = detail
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, str]:
        """Return the parts that are not empty, as the JSON answer shows them."""
        parts = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "command": self.command,
            "detail": self.detail,
        }
        return {key: value for key, value in parts.items() if value}


def megabytes(count: int) -> str:
    """Return a byte count as people say it ("12 MB"), with a space that does not break."""
    return (
        f"{count / (1024 * 1024):.0f}\N{NO-BREAK SPACE}MB"
        if count >= 1024 * 1024
        else f"{max(1, count // 1024)}\N{NO-BREAK SPACE}kB"
    )


def no_photo() -> DemoError:
    """Return the sentence for a form without a file."""
    return DemoError(400, "no_photo", "No photo was sent.", hint="Choose one, drop one on the page, or paste one.")


def empty_photo() -> DemoError:
    """Return the sentence for a file of zero bytes."""
    return DemoError(400, "corrupt_image", "This file is empty.", hint="Try another photo.")


def too_many_bytes(limit: int) -> DemoError:
    """Return the sentence for an upload above `limit` bytes."""
    return DemoError(
        413,
        "too_large",
        f"This file is larger than {megabytes(limit)}, the most this page takes.",
        hint="Small photos gain the most: try a smaller one.",
    )


def wrong_format(data: bytes) -> DemoError:
    """Return the sentence for bytes that are none of the accepted formats."""
    other = name_of_other(data)
    what = f"This is {other}, not a photo the model can read." if other else "This file is not a photo."
    return DemoError(415, "unsupported_format", what, hint=f"Choose a {FORMATS} file.")


def stale_page() -> DemoError:
    """Return the sentence for a form whose CSRF token is missing or of another session."""
    return DemoError(
        400,
        "stale_page",
        "This page is older than the app behind it.",
        hint="Reload the page (it needs its cookie), then try again.",
    )


def too_often(retry_after: int) -> DemoError:
    """Return the sentence for a client above its rate; `retry_after` in seconds."""
    return DemoError(
        429,
        "too_often",
        "That was many photos in a short time.",
        hint=f"Wait {retry_after} seconds, then try again.",
        retry_after=retry_after,
    )


def unreachable(target: Target = PRODUCTION) -> DemoError:
    """Return the sentence for a model server that does not answer."""
    return DemoError(
        502,
        "server_unreachable",
        f"The {target.server} does not answer.",
        hint="To see what is up and what is not, run:",
        command="stackctl status",
    )


def no_model(model: str, detail: str = "", target: Target = PRODUCTION) -> DemoError:
    """Return the sentence for a server without a version in its stage."""
    return DemoError(
        503,
        "no_model",
        f"No version is in {target.stage} yet.",
        hint="Run:",
        command=f"stackctl promote {model} {target.example}",
        detail=detail,
    )


def restarting(target: Target, retry_after: int | None) -> DemoError:
    """Return the sentence for a server that has a version and no process of it at this moment."""
    return DemoError(
        503,
        "restarting",
        f"The {target.server} is restarting its model.",
        hint="Try again in a moment.",
        retry_after=retry_after or 1,
    )


def not_an_image_model(model: str, detail: str = "", target: Target = PRODUCTION) -> DemoError:
    """Return the sentence for a version that takes something else than photos."""
    return DemoError(
        409,
        "not_an_image_model",
        f"The version of {model} in {target.stage} is not an image model.",
        hint="The demo needs one that takes a photo and returns a photo. To see the others, run:",
        command=f"stackctl models show {model}",
        detail=detail,
    )


def no_staging() -> DemoError:
    """Return the sentence for a comparison in a stack with one model server."""
    return DemoError(
        404,
        "no_staging",
        "This stack has no staging server to compare with.",
        hint="To get one, set serving.staging to true in stack.yaml, then run:",
        command="stackctl up",
    )


def timeout() -> DemoError:
    """Return the sentence for a result that took too long."""
    return DemoError(504, "timeout", "The model took too long for this photo.", hint="Try a smaller one.")


def from_server(
    status: int,
    code: str,
    message: str,
    *,
    model: str,
    serves: bool = False,
    retry_after: int | None = None,
    target: Target = PRODUCTION,
) -> DemoError:
    """Return the sentence for an error answer of the model server: its HTTP status, error code and message.

    `serves` says that the server has a version, whatever it answered.
    """
    match code:
        case "no_model":
            return restarting(target, retry_after) if serves else no_model(model, target=target)
        case "unsupported_format":
            return DemoError(
                415, code, "The model cannot read this kind of file.", hint=f"Choose a {FORMATS} file.", detail=message
            )
        case "too_large":
            return DemoError(
                413, code, "This photo is too large for the model server.", hint="Try a smaller one.", detail=message
            )
        case "corrupt_image":
            return DemoError(
                400,
                code,
                "This photo is damaged: it could not be read to its end.",
                hint="Open it in a photo program, save it again, then try once more.",
                detail=message,
            )
        case "not_an_image_model":
            return not_an_image_model(model, message, target)
        case "busy":
            wait = retry_after or 2
            return DemoError(
                429,
                code,
                "The model is busy with other photos.",
                hint=f"Try again in {wait} second{'' if wait == 1 else 's'}.",
                retry_after=wait,
            )
        case "timeout":
            return timeout()
        case _:
            return DemoError(
                502,
                "internal",
                f"The {target.server} failed on this photo (HTTP {status}).",
                hint="To see why, run:",
                command=f"stackctl logs {target.service}",
            )
