"""The names under which this product keeps its own knowledge in the model registry."""

from __future__ import annotations

CONTRACT = "stackctl.contract"
"""On a version: which contract it honours; ``image`` for image models."""

DIGEST = "stackctl.digest"
"""On a version: ``sha256:<hex>`` over its logged files (see ``stackctl.models.digest``)."""

SOURCE = "stackctl.source"
"""On a version: where it came from, for instance ``starter-v1``."""

EVALUATION_DIGEST = "stackctl.evaluation.digest"
"""On a version (or its run): digest of the data set that its metrics were measured on. Metrics of two versions are
comparable where it is the same; its form is the evaluation's own business."""

GOLDEN = "stackctl.golden"
"""On a version: ``passed``, or ``failed: <reason>`` where its golden inputs were replayed when it was registered."""

FIDELITY_BF16 = "stackctl.fidelity.bf16"
"""On a version: PSNR in dB of its bf16 output against the fp32 reference, for instance ``53.9``."""

PROMOTED_AT = "stackctl.promoted_at"
"""On a version: when it was last promoted to Production, ISO 8601 in UTC."""

STAGED_AT = "stackctl.staged_at"
"""On a version: when it was last promoted to staging, ISO 8601 in UTC."""

DEPLOYMENT = "stackctl.deployment"
"""On a version: what the deployer decided about it, and why."""

PROMOTION = "stackctl.promotion"
"""On a registered model: the journal of the promotion that is going on (see ``stackctl.models.journal``)."""

HISTORY = "stackctl.history."
"""On a registered model: the beginning of the tags that hold what happened (see ``stackctl.models.history``)."""

PRODUCTION_STAGE = "Production"
PRODUCTION_ALIAS = "production"
CANDIDATE_ALIAS = "candidate"
