"""The two places a version can serve from, and what the page calls them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`stage` is MLflow's word, `server` a person's, `service` the stack's; `example` completes `stackctl promote`."""

    name: str
    stage: str
    server: str
    service: str
    example: str


PRODUCTION = Target("production", "Production", "model server", "serving", "1")
STAGING = Target("staging", "Staging", "staging server", "serving-staging", "2 --to staging")
