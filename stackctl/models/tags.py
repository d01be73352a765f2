"""The names under which this product keeps its own knowledge in the model registry."""

from __future__ import annotations

CONTRACT = "stackctl.contract"
"""On a version: which contract it honours; ``image`` for image models."""

DIGEST = "stackctl.digest"
"""On a version: ``sha256:<hex>`` over its logged files (see ``stackctl.models.digest``)."""

SOURCE = "stackctl.source"
"""On a version: where it came from, for instance ``starter-v1``."""

PROMOTED_AT = "stackctl.promoted_at"
"""On a version: when it was last promoted, ISO 8601 in UTC."""

PROMOTION = "stackctl.promotion"
"""On a registered model: the journal of the promotion that is going on (see ``stackctl.models.journal``)."""

PRODUCTION_STAGE = "Production"
PRODUCTION_ALIAS = "production"
CANDIDATE_ALIAS = "candidate"
