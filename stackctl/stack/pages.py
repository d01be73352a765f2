"""Addresses that a person opens in a browser."""

from __future__ import annotations

from stackctl.errors import UsageError
from stackctl.stack.stack import Stack


def page_address(stack: Stack, page: str) -> str:
    """Return the address of ``mlflow``, ``demo`` or ``store``; folder storage has a folder instead of a page.

    Raises:
        UsageError: there is no such page.
    """
    match page:
        case "mlflow":
            return stack.endpoints.mlflow
        case "demo":
            return stack.endpoints.demo
        case "store" if stack.settings.store.kind == "minio":
            return f"http://127.0.0.1:{stack.settings.ports.store_console}"
        case "store" if stack.settings.store.kind == "folder":
            return (stack.var / "artifacts").as_uri()
        case "store":
            return stack.endpoints.store or ""
        case _:
            raise UsageError(f"There is no page {page}.", "Pages: mlflow, demo, store.")
