"""What unit tests of several rooms share."""

from __future__ import annotations

from support.mlflow_server import mlflow_server

__all__ = ["mlflow_server"]
