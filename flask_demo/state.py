"""What the views work with: the configuration, the model servers, the sample photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from flask_demo import errors
from flask_demo.config import DemoConfig
from flask_demo.model_server import ModelServer
from flask_demo.panel import read_panel
from flask_demo.targets import STAGING

SAMPLE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class DemoState:
    """One demo; `staging` is None where the stack has no staging server."""

    config: DemoConfig
    production: ModelServer
    staging: ModelServer | None

    @classmethod
    def of(cls, config: DemoConfig) -> DemoState:
        """Return the state that `config` describes; connects to nothing."""
        return cls(
            config,
            ModelServer(config.model_server, timeout=config.timeout),
            ModelServer(config.staging_server, timeout=config.timeout, target=STAGING)
            if config.staging_server
            else None,
        )

    def server(self, target: str) -> ModelServer:
        """Return the server called "production" or "staging"; raises DemoError where there is none."""
        if target == self.production.target.name:
            return self.production
        if self.staging is None or target != STAGING.name:
            raise errors.no_staging()
        return self.staging

    def samples(self) -> dict[str, Path]:
        """Return the sample photos, file name -> path, in the order of their names."""
        if not self.config.samples.is_dir():
            return {}
        files = sorted(path for path in self.config.samples.iterdir() if path.suffix.lower() in SAMPLE_SUFFIXES)
        return {path.name: path for path in files}

    def panels(self) -> dict[str, Any]:
        """Ask both servers what serves: the `production` panel, and `staging` or None."""
        mlflow = self.config.mlflow_url
        return {
            "production": read_panel(self.production, mlflow),
            "staging": read_panel(self.staging, mlflow) if self.staging else None,
        }

    def page(self) -> dict[str, Any]:
        """Return what every page needs."""
        return {
            **self.panels(),
            "stack": self.config.name,
            "limit": self.config.max_upload_bytes,
            "limit_text": errors.megabytes(self.config.max_upload_bytes),
            "formats": errors.FORMATS,
            "poll_ms": int(self.config.poll_seconds * 1000),
            "samples": [(name, spoken_name(name)) for name in self.samples()],
        }


def spoken_name(file_name: str) -> str:
    """Return what to call a sample photo: "city_street-2.jpg" is "City street 2"."""
    return PurePath(file_name).stem.replace("_", " ").replace("-", " ").capitalize()
