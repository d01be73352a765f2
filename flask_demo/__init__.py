"""The demo: one web page that sends a photo to the model server and shows what came back."""

from __future__ import annotations

from flask_demo.app import create_app
from flask_demo.config import ConfigError, DemoConfig

__all__ = ["ConfigError", "DemoConfig", "create_app"]
