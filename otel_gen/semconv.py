"""Attribute keys, names and closed sets of otel_gen's spans, records and metrics."""

from __future__ import annotations

from typing import Final

SCOPE: Final = "otel_gen"
"""Instrumentation scope of every span."""

# --- every span ---------------------------------------------------------------------------------
GENERATION_ID: Final = "gen3d.generation.id"
"""UUID of the generation that a span belongs to, 36 characters."""
FILTERED: Final = "gen3d.filtered"
"""True on spans without content; such a span never becomes or completes a record."""
SOURCE: Final = "gen3d.source"
"""Where a record comes from when it is not live, e.g. `replay`."""
ATTRIBUTE: Final = "gen3d.attributes."
"""Prefix of a caller's scalar attribute (`stage.set(width=512)`)."""
STRUCTURED: Final = "gen3d.json."
"""Prefix of a caller's structured attribute, as a canonical JSON string."""
TRUNCATED: Final = "gen3d.truncated"
"""True where values were cut: longer than a text may be, or than one journal frame."""
PARTIAL: Final = "gen3d.partial"
"""In the journal alone: this root span holds its smallest attributes, its begin and its notes the rest."""

# --- the root span, `generation` -----------------------------------------------------------------
GENERATION_SPAN: Final = "generation"
TASK_TYPE: Final = "gen3d.task.type"
TASK_ID: Final = "gen3d.task.id"
TASK_ATTEMPT: Final = "gen3d.task.attempt"
PROMPT: Final = "gen3d.prompt"
"""The text prompt; for an image task `[BASE64_IMAGE_HASH:sha256:<hex>]`."""
NO_IMAGE_YET: Final = "[IMAGE]"
"""Prompt of an image task until the image's hash is known, or for ever where it never is."""
PROMPT_LENGTH: Final = "gen3d.prompt.length"
"""Characters (bytes for an image passed as bytes) of what was passed."""
ENHANCED_PROMPT: Final = "gen3d.prompt.enhanced"
NEGATIVE_PROMPT: Final = "gen3d.prompt.negative"
VALIDATOR_UID: Final = "gen3d.validator.uid"
VALIDATOR_HOTKEY: Final = "gen3d.validator.hotkey"
MINER_UID: Final = "gen3d.miner.uid"
MINER_HOTKEY: Final = "gen3d.miner.hotkey"
MINER_VERSION: Final = "gen3d.miner.version"
NETWORK: Final = "gen3d.network"
MINER_CONFIG: Final = "gen3d.miner_config"
"""The miner's settings in force, canonical JSON."""
MINER_CONFIG_HASH: Final = "gen3d.miner_config.hash"
"""`sha256:<hex>` of the canonical JSON."""
SAID: Final = "gen3d.said"
"""The last of submitted, withheld, failed, cancelled that was said of the generation."""
SUBMISSION_TIME: Final = "gen3d.submission.time_unix_nano"
REJECTION_REASON: Final = "gen3d.submission.rejection_reason"
REJECTION_VALUE: Final = "gen3d.submission.rejection_value"
ERROR_TYPE: Final = "gen3d.error.type"
ERROR_MESSAGE: Final = "gen3d.error.message"
ERROR_STACK: Final = "gen3d.error.stack"
ERROR_CLASS: Final = "gen3d.error.class"
ERROR_STAGE: Final = "gen3d.error.stage"
LEFT: Final = "gen3d.left"
"""True on a generation that has not ended while nobody seems to hold it any more; never on a root span."""
FINAL: Final = "gen3d.final"
"""True where the caller has no more to say: the record is written without waiting for a verdict."""
TIMING: Final = "gen3d.timing."
"""Prefix of seconds that a caller measured himself, by the name under which the record keeps them."""
LATER_ERROR: Final = "gen3d.error_after_submission"
"""Canonical JSON of the error that followed a submission."""

OUTPUT: Final = "gen3d.output."
"""Prefix of what is said of the output."""
NUM_GAUSSIANS: Final = "gen3d.output.num_gaussians"
FILE_SIZE_BYTES: Final = "gen3d.output.file_size_bytes"
FILE_SIZE_MB: Final = "gen3d.output.file_size_mb"
CLIP_SCORE: Final = "gen3d.output.clip_score"
CLIP_PASS: Final = "gen3d.output.clip_threshold_pass"  # noqa: S105 - a verdict, not a password
COUNT_PASS: Final = "gen3d.output.gaussian_count_pass"  # noqa: S105
VALIDATION_PASS: Final = "gen3d.output.validation_pass"  # noqa: S105
QUALITY: Final = (CLIP_SCORE, CLIP_PASS, COUNT_PASS, VALIDATION_PASS)
GAUSSIAN_STATS: Final = "gen3d.output.gaussian_stats"
RENDER_STATS: Final = "gen3d.output.render_stats"
SHED: Final = "gen3d.output.shed"
"""Why an artifact was given up."""
PENDING: Final = "gen3d.artifacts.pending"
"""Kinds of artifacts whose staging had not ended with the span, comma separated."""
ARTIFACT: Final = "gen3d.artifact."
"""Prefix: `gen3d.artifact.<kind>.{hash,size,media_type,staged}`."""

# --- stage spans -----------------------------------------------------------------------------------
STAGE_NAME: Final = "gen3d.stage.name"
STAGE_STATUS: Final = "gen3d.stage.status"
GPU: Final = "gen3d.gpu."
"""Prefix of what the GPUs of the process showed while a stage ran."""
GPU_MEMORY: Final = "gen3d.gpu.memory_peak_bytes"
"""Most memory in use on one device, by all processes."""
GPU_UTILIZATION: Final = "gen3d.gpu.utilization_peak"
"""Highest utilisation of one device, 0..1."""
GPU_SAMPLES: Final = "gen3d.gpu.samples"
"""How many samples these peaks are of."""
QUEUE_STAGE: Final = "queue"
"""The stage that is waiting, not work."""

# --- feedback spans --------------------------------------------------------------------------------
FEEDBACK_SPAN: Final = "feedback"
FEEDBACK_PREFIX: Final = "gen3d.feedback."
FEEDBACK_TASK_ID: Final = "gen3d.feedback.task_id"
FEEDBACK_JSON: Final = "gen3d.feedback.json."
"""Prefix of a structured field of a feedback, as a canonical JSON string."""
FEEDBACK_EVENT_ID: Final = "gen3d.feedback.event_id"
"""Place of the feedback in the journal; the record's `validator_feedback.event_id`."""
EVALUATION_EVENT: Final = "gen_ai.evaluation.result"

TASK_TYPES: Final = ("TEXT-TO-3D", "IMAGE-TO-3D")
OTHER: Final = "other"
NONE: Final = "none"
OUTCOMES: Final = (
    "accepted", "rejected", "unscored", "withheld", "unsubmitted", "failed", "cancelled", "interrupted",
)  # fmt: skip
ERROR_TYPES: Final = ("oom", "timeout", "connection", "cancelled", "interrupted", "crash")
VERDICTS: Final = ("accepted", "rejected", "invalid")
STATUSES: Final = ("ok", "error", "cancelled", "interrupted")
ARTIFACT_KINDS: Final = ("image", "output_image", "ply", "spz")
