"""What a version can be promoted to: the names under which the registry knows each target.

A target is one stage and one alias that mean the same, the alias under which its next version is prepared, and the tag
that holds the journal of a promotion to it. Production is what users get; staging is a model server beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stackctl.errors import UsageError

TargetName = Literal["production", "staging"]


@dataclass(frozen=True)
class Target:
    """Where a promotion leads.

    Attributes:
        name: how a person calls it, and the role of the model servers that follow it.
        stage: MLflow's stage, for ``models:/NAME/Stage``.
        alias: MLflow's alias, for ``models:/NAME@alias``.
        candidate_alias: the alias of the version that its servers prepare.
        journal_tag: the tag on the registered model that holds the journal of the promotion that is going on.
    """

    name: TargetName
    stage: str
    alias: str
    candidate_alias: str
    journal_tag: str


PRODUCTION = Target("production", "Production", "production", "candidate", "stackctl.promotion")
STAGING = Target("staging", "Staging", "staging", "candidate-staging", "stackctl.promotion.staging")
TARGETS = (PRODUCTION, STAGING)


def target_of(role: str) -> Target:
    """Return the target of a name or of a model server's role.

    Raises:
        UsageError: there is no such target.
    """
    for target in TARGETS:
        if target.name == role:
            return target
    raise UsageError(f"{role!r} is no target of a promotion.", "Choose production or staging.")
