"""Old: one record of the former logger, understood; nothing in it is believed without a look."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.events import Feedback, canonical
from otel_gen.foreign import valid_id
from otel_gen.history import is_record
from otel_gen.images import input_image
from otel_gen.importing.lines import Raw
from otel_gen.importing.values import digest, moment
from otel_gen.legacy import words
from otel_gen.older import part

SOURCE = "legacy"
"""`metadata.source` of an imported record."""
_PARTS = ("metadata", "task", "miner_config", "generation", "validator_feedback", "failure_analysis")
_INNER = ("timing", "output", "submission")
_TESTS = re.compile(r"(?<![a-z])(test|tests|testing|pytest|fixture|dummy|mock)(?![a-z])", re.IGNORECASE)
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)
_NAMESPACE = uuid.UUID("6f1c9b53-6a57-5d0c-9a53-1b7c3c1f7a11")


@dataclass(slots=True)
class File:
    """A file that a record names: kind, path as written, hash as written (hex or empty)."""

    kind: str
    path: str
    digest: str


@dataclass(slots=True)
class Old:
    """What is known of one old generation."""

    id: str
    place: str
    pending: bool
    start: int
    end: int
    attributes: dict[str, Any]
    stages: list[tuple[str, float]]
    verdict: Feedback | None
    image: str | None
    """An image in base64 where the prompt was one."""
    readable: bool
    """Readers take the line as it is."""
    files: list[File]
    mended: list[str] = field(default_factory=list)

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """How much it knows, to choose among lines with the same id."""
        return not self.pending, self.verdict is not None, sc.SAID in self.attributes


def why_not(raw: Raw, *, tests: bool) -> str:
    """Say why an object is not to be imported; empty where it is."""
    value = raw.value
    if not any(isinstance(value.get(part), dict) for part in ("metadata", "task", "generation")):
        return "not a record"
    if "schema_version" in value:
        return "written by otel_gen"
    version = part(value, "metadata").get("miner_version")
    return "test fixture" if not tests and isinstance(version, str) and _TESTS.search(version) else ""


def understand(raw: Raw) -> Old:
    """Read an object as an old generation."""
    return _Reading(raw).old()


class _Reading:
    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.mended = list(raw.mended)
        value = raw.value
        if any(value.get(part) is None for part in _PARTS if part in value):
            self.mended.append("null where an object belongs")
        self.metadata, self.task = part(value, "metadata"), part(value, "task")
        self.generation = part(value, "generation")
        if any(self.generation.get(part) is None for part in _INNER if part in self.generation):
            self.mended.append("null where an object belongs")
        self.output, self.submission = part(self.generation, "output"), part(self.generation, "submission")
        self.feedback, self.failure = part(value, "validator_feedback"), part(value, "failure_analysis")

    def old(self) -> Old:
        id_, start = self._id(), self._moment(self.metadata.get("timestamp"))
        stages, total = self._timing()
        end = start + round(total * 1e9)
        attributes = {sc.GENERATION_ID: id_, sc.SOURCE: SOURCE, **self._identity(), **self._asked()}
        attributes |= self._made()
        verdict = self._verdict(id_, end)
        attributes |= self._ending(verdict, end)
        image = self._image(attributes)
        mended = list(dict.fromkeys(self.mended))
        return Old(
            id_, self.raw.place, self.raw.pending, start, end, attributes, stages, verdict, image,
            is_record(self.raw.value) and not self.raw.mended, self._files(), mended,
        )  # fmt: skip

    def _id(self) -> str:
        given = sanitize.text(self.metadata.get("generation_id"), 200) or ""
        try:
            found = str(uuid.UUID(given))
        except ValueError:
            self.mended.append("id is no UUID")
            content = given.encode() if given else canonical(sanitize.clean(self.raw.value, limit=1 << 20))
            return str(uuid.uuid5(_NAMESPACE, hashlib.sha256(content).hexdigest()))
        if not valid_id(given):
            self.mended.append("id is no UUID")
        return found

    def _moment(self, value: Any) -> int:
        found = moment(value)
        if found is None:
            self.mended.append("timestamp cannot be read")
            return 0
        if isinstance(value, str) and not _ZONE.search(value.strip()):
            self.mended.append("timestamp without zone")
        return found

    def _timing(self) -> tuple[list[tuple[str, float]], float]:
        timing = part(self.generation, "timing")
        known = {name: words.seconds_of(value) for name, value in timing.items()}
        stages = [
            (words.stage_of(name), seconds)
            for name, seconds in known.items()
            if seconds is not None and not words.is_total(name)
        ]
        total = known.get("total_time")
        if total is None and stages:
            self.mended.append("no total_time")
        return stages, sum(seconds for _, seconds in stages) if total is None else total

    def _identity(self) -> dict[str, Any]:
        got = self.metadata.get
        hotkey = sanitize.text(got("validator_hotkey"), 256)
        found = {
            sc.MINER_UID: sanitize.uid(got("miner_uid")),
            sc.MINER_VERSION: sanitize.text(got("miner_version"), 256),
            sc.NETWORK: sanitize.text(got("network"), 256),
            sc.VALIDATOR_UID: sanitize.uid(got("validator_uid")),
            sc.VALIDATOR_HOTKEY: None if hotkey == "unknown" else hotkey,
        }
        return {key: value for key, value in found.items() if value is not None}

    def _asked(self) -> dict[str, Any]:
        config = self.raw.value.get("miner_config")
        found = attrs.task({"task_type": self.task.get("task_type")}) | attrs.config_attributes(config)
        found |= attrs.prompt_text(self.task.get("prompt"))
        length = sanitize.number(self.task.get("prompt_length"))
        if length is not None and length >= 0:
            found[sc.PROMPT_LENGTH] = int(length)
        return found

    def _made(self) -> dict[str, Any]:
        quality = part(self.output, "quality_metrics")
        names = ("num_gaussians", "file_size_mb", "gaussian_stats", "render_stats")
        told = {name: self.output.get(name) for name in names} | {
            name: quality.get(name)
            for name in ("clip_score", "clip_threshold_pass", "gaussian_count_pass", "validation_pass")
        }
        got = self.generation.get
        found = attrs.output(told) | attrs.enhanced(got("enhanced_prompt"), got("negative_prompt"))
        for kind, known in (
            ("ply", self._output_hash()),
            ("image", digest(self.task.get("base64_image_hash"))),
        ):
            if known:
                found[f"{sc.ARTIFACT}{kind}.hash"] = f"sha256:{known}"
        return found

    def _output_hash(self) -> str:
        return digest(self.output.get("ply_file_hash")) or digest(self.output.get("rejected_sample_hash"))

    def _verdict(self, id_: str, end: int) -> Feedback | None:
        got = self.feedback.get
        if not got("received") and got("score") is None:
            return None
        score = sanitize.score(got("score"))
        if score is None and got("accepted"):
            self.mended.append("flags contradict each other")
            return None
        if score is None:
            self.mended.append("score is no number in 0..1")
        elif isinstance(got("accepted"), bool) and got("accepted") != (score > 0):
            self.mended.append("flags contradict each other")
        when = moment(got("feedback_time"))
        uid = sanitize.uid(got("validator_uid"))
        return Feedback(
            end if when is None else when, 0, id_, "", score, score is None, True, uid,
            origin=f"{SOURCE}-{id_}", source=SOURCE,
        )  # fmt: skip

    def _ending(self, verdict: Feedback | None, end: int) -> dict[str, Any]:
        failed, got = self.failure.get("failed"), self.submission.get
        flags = [bool(failed), bool(got("pre_submission_rejection")), bool(got("submitted")) or bool(verdict)]
        if sum(flags) > 1:
            self.mended.append("flags contradict each other")
        if flags[2]:
            when = moment(got("submission_time"))
            uid = sanitize.uid(self.metadata.get("validator_uid"))
            return words.submission(True, None, uid, self._submitted(verdict, end) if when is None else when)
        if flags[0]:
            tell = self.failure.get
            return words.failure(tell("error_type"), tell("error_message"), tell("stack_trace"))
        if flags[1] or got("submitted") is False:
            return words.submission(False, got("rejection_reason"), None, 0)
        return {}

    def _submitted(self, verdict: Feedback | None, end: int) -> int:
        waited = words.seconds_of(self.feedback.get("feedback_delay_seconds"))
        return end if verdict is None or waited is None else max(verdict.wall - round(waited * 1e9), 0)

    def _image(self, attributes: dict[str, Any]) -> str | None:
        """Find an image in the prompt, and say of an image task whose image is not known that it is one."""
        prompt = self.task.get("prompt")
        found, _ = input_image(self.task.get("task_type"), None, prompt)
        known = f"{sc.ARTIFACT}image.hash" in attributes
        if found is not None or (self.task.get("is_base64_image") and not known):
            attributes[sc.PROMPT] = sc.NO_IMAGE_YET
        elif known and not str(prompt or "").startswith("["):
            attributes[sc.PROMPT] = f"[BASE64_IMAGE_HASH:{attributes[f'{sc.ARTIFACT}image.hash']}]"
        return prompt if found is not None else None

    def _files(self) -> list[File]:
        found: list[File] = []
        named = (
            ("image", self.task.get("image_file_path"), self.task.get("base64_image_hash")),
            ("ply", self.output.get("ply_file_path"), self.output.get("ply_file_hash")),
            ("ply", self.output.get("rejected_sample_path"), self.output.get("rejected_sample_hash")),
        )
        for kind, path, known in named:
            if isinstance(path, str) and path and all(one.kind != kind for one in found):
                found.append(File(kind, path, digest(known)))
        return found
