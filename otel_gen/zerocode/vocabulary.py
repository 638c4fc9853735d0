"""Vocabulary: what the steps, parameters and headers of a generation service are called."""

from __future__ import annotations

import re

STAGES = {
    "prompt_enhancement": r"enhance|rewrite|expand_prompt|improve_prompt|llm",
    "blip2_caption": r"blip|caption",
    "sdxl": r"sdxl",
    "sd35": r"sd_?3_?5|stable_diffusion_3",
    "flux": r"flux",
    "text_to_image": r"text_?(to|2)_?image|t2i|txt_?2_?img|generate_image|image_generat|diffus|draw_image",
    "background_removal": r"rembg|background|birefnet|segment|matting|cutout|remove_bg",
    "depth_estimation": r"depth",
    "trellis": r"trellis|generate_3d|image_?(to|2)_?3d|text_?(to|2)_?3d|make_3d|reconstruct|hunyuan|splat|mesh",
    "ply_processing": r"ply|compress|spz",
    "rendering": r"render",
    "validation": r"validat|clip|similarity|quality|score",
    "image_decoding": r"prepare_image|decode_image|parse_image|load_image|decode_prompt",
}
"""A stage's name and what a function of it is called, its class and module included; the first that fits."""

QUEUE = r"(^|\.)(asyncio|threading|anyio)\.(Bounded)?(Semaphore|Lock|RLock|CapacityLimiter)$"
GENERATION = re.compile(r"generat|create|process|task|3d|predict|infer")
CONFIG = re.compile(r"(?i)^(miner_?)?(config|settings|cfg|params|options)$")
SKIPPED = re.compile(r"(?i)skip|reject|withheld|valid(?!ator)|fail|refus|reason")
BROKEN = re.compile(r"(?i)error|exception")
KNOBS = re.compile(
    r"(num_)?(inference_)?steps|seed|width|height|size|resolution|guidance(_scale)?|cfg|strength|.*_steps"
)
PARAMETERS = {
    "prompt": "prompt", "text": "prompt", "text_prompt": "prompt", "prompt_image": "image", "image": "image",
    "task_id": "task_id", "validator_uid": "validator_uid", "validator_hotkey": "validator_hotkey",
    "task_type": "task_type", "seed": "seed",
}  # fmt: skip
"""Parameters and fields, and what the generation calls them."""
HEADERS = {
    "task_id": "x-task-id", "validator_uid": "x-validator-uid", "validator_hotkey": "x-validator-hotkey",
}  # fmt: skip
ERRORS = {400: "bad_input", 413: "bad_input", 499: "cancelled", 415: "bad_input", 422: "bad_input", 429: "busy",
          408: "timeout", 502: "connection", 503: "connection", 504: "timeout"}  # fmt: skip


def words(module: str, path: str) -> list[str]:
    """Spell a place in small words, the function's own name first, then its class and module."""
    parts = [*reversed(path.split(".")), *reversed(module.split("."))]
    return [_CAMEL.sub("_", part).lower() for part in parts]


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])")


def stage_of(module: str, path: str) -> str | None:
    """Name the stage that a function sounds like; None for one that sounds like none."""
    for word in words(module, path)[: 1 + path.count(".")]:
        for name, pattern in STAGES.items():
            if re.search(pattern, word):
                return name
    return None
