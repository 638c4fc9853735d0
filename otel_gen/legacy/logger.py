"""The legacy logger's calls: each says something of a generation by its id, and never raises."""

from __future__ import annotations

from typing import Any

from otel_gen import attributes as attrs
from otel_gen import install, sanitize
from otel_gen.capture import Capture
from otel_gen.events import Configured
from otel_gen.exporter import bounded
from otel_gen.guard import Faults, guarded, log
from otel_gen.legacy import figures, options, words
from otel_gen.legacy.book import Book, book_of
from otel_gen.legacy.handle import Logged
from otel_gen.runtime import configure, feedback
from otel_gen.safely import faults

_MAX_SHOWN = 64


class GenerationDataLogger:
    """The logger that services had before, with its calls, on top of otel_gen.

    Making one configures this process: options, then OTEL_GEN_* variables, then the defaults of then.
    Raises SettingsError for a wrong option; nothing else here raises.
    """

    def __init__(
        self,
        data_dir: Any = None,
        miner_uid: Any = None,
        miner_version: Any = None,
        network: Any = None,
        store_images: Any = None,
        store_ply_files: Any = None,
        **more: Any,
    ) -> None:
        given = {
            "data_dir": data_dir, "miner_uid": miner_uid, "miner_version": miner_version,
            "network": network, "store_images": store_images, "store_ply_files": store_ply_files,
        }  # fmt: skip
        self.data_dir = configure(**options.settings(given | more)).data_dir

    @property
    def faults(self) -> Faults:
        """Where faults of these calls are counted."""
        capture = install.active()
        return faults if capture is None else capture.faults

    # --- a generation ----------------------------------------------------------------------------------
    @guarded
    def start_generation(
        self,
        task_type: Any = None,
        prompt: Any = None,
        validator_uid: Any = None,
        validator_hotkey: Any = None,
        miner_config: Any = None,
        **more: Any,
    ) -> str:
        """Open a generation and give its id; empty where nothing is recorded (any more).

        `more`: what `otel_gen.generation()` takes besides, `task_id` above all.
        """
        book = _book()
        if book is None:
            return ""
        asked = {
            "task_type": task_type, "prompt": prompt, "validator_uid": validator_uid,
            "validator_hotkey": validator_hotkey, "config": miner_config,
        }  # fmt: skip
        return book.start(more | asked)

    @guarded
    def log_enhanced_prompt(
        self, generation_id: Any, enhanced_prompt: Any = None, negative_prompt: Any = None
    ) -> None:
        """Keep the prompt after enhancement."""
        self._say(generation_id, attrs.enhanced(enhanced_prompt, negative_prompt))

    @guarded
    def log_timing(self, generation_id: Any, component: Any, duration: Any) -> None:
        """Add a stage that ends now and took `duration` seconds; `total_time` is the time of the whole."""
        seconds = words.seconds_of(duration)
        book, one = self._find(generation_id)
        if book is None or one is None:
            return
        if seconds is None:
            log.warning(
                "otel_gen: no duration in seconds for %s: ignored", sanitize.text(component, _MAX_SHOWN)
            )
        elif isinstance(one, Logged) and not one.over and not words.is_total(component):
            one.elapsed(words.stage_of(component), seconds)
            book.heard(one)
        else:
            self._say(generation_id, words.reported(component, seconds))

    @guarded
    def log_output(
        self,
        generation_id: Any,
        num_gaussians: Any = None,
        file_size_mb: Any = None,
        ply_file_path: Any = None,
        ply_data: Any = None,
        clip_score: Any = None,
        clip_threshold_pass: Any = None,
        gaussian_count_pass: Any = None,
        validation_pass: Any = None,
        gaussian_stats: Any = None,
        render_stats: Any = None,
        **more: Any,
    ) -> None:
        """Describe the output and hand it over, as bytes or by path; its parts merge."""
        described = {
            "num_gaussians": num_gaussians, "file_size_mb": file_size_mb, "clip_score": clip_score,
            "clip_threshold_pass": clip_threshold_pass, "gaussian_count_pass": gaussian_count_pass,
            "validation_pass": validation_pass, "gaussian_stats": gaussian_stats,
            "render_stats": render_stats,
        }  # fmt: skip
        self._say(generation_id, attrs.output({**described, **more}))
        self._hand_over(generation_id, ply_file_path if ply_data is None else ply_data)

    @guarded
    def log_submission(
        self, generation_id: Any, submitted: Any = True, rejection_reason: Any = None, ply_data: Any = None
    ) -> None:
        """Say that the result was handed to the validator, or kept back and why; `ply_data`: the output."""
        self._hand_over(generation_id, ply_data)
        book, one = self._find(generation_id)
        if book is not None and one is not None:
            wall = book.capture.clock.wall()
            self._say(generation_id, words.submission(submitted, rejection_reason, one.uid, wall))

    @guarded
    def log_failure(
        self, generation_id: Any, error_type: Any = None, error_message: Any = None, stack_trace: Any = None
    ) -> None:
        """Say that the generation failed, in words of your own."""
        self._say(generation_id, words.failure(error_type, error_message, stack_trace))

    @guarded
    def log_validator_feedback(
        self, generation_id: Any, score: Any = None, feedback_time: Any = None, **more: Any
    ) -> None:
        """Record the verdict: of any process's generation, before or after its end.

        `more`: what `otel_gen.feedback()` takes besides, `validator_uid` above all.
        """
        result = feedback(generation_id, **more, score=score, feedback_time=feedback_time)
        if result.reason == "malformed id":
            _warn(generation_id)
            return
        book = _book()
        if book is not None:
            book.remember_verdict(_text(generation_id))

    @guarded
    def finalize_generation(self, generation_id: Any) -> None:
        """Say that there is no more to come: the record is written, with or without a verdict."""
        book, one = self._find(generation_id)
        if book is None or one is None:
            return
        if isinstance(one, Logged):
            book.close(one, final=True)
            one.wait()
        else:
            book.final(_text(generation_id))

    def _say(self, generation_id: Any, attributes: dict[str, Any]) -> None:
        book, one = self._find(generation_id)
        if book is None or one is None:
            return
        if isinstance(one, Logged):
            one.say(attributes)
            book.heard(one)
        else:
            book.late(_text(generation_id), attributes)

    @guarded
    def _hand_over(self, generation_id: Any, source: Any) -> None:
        book, one = self._find(generation_id, quiet=True) if source is not None else (None, None)
        if book is None or one is None:
            return
        if isinstance(one, Logged) and not one.over:
            one.output(ply=source)
        else:
            book.late_artifact(_text(generation_id), source)

    def _find(self, generation_id: Any, *, quiet: bool = False) -> tuple[Book | None, Any]:
        """Find a generation; one that is not known is a warning and no more."""
        book = _book()
        if book is None:
            return None, None
        one = book.find(_text(generation_id))
        if one is None and not quiet and not book.has_verdict(_text(generation_id)):
            _warn(generation_id)
        return book, one

    # --- settings and figures --------------------------------------------------------------------------
    @guarded
    def log_config_change(self, changes: Any, reason: Any = None) -> None:
        """Tell the config history of a change: `{name: {"old": ..., "new": ...}}`, or `{name: new}`."""
        _configured("change", options.changes(changes), reason or "config change")

    @guarded
    def log_startup_config(self, config: Any, reason: Any = None) -> None:
        """Tell the config history how this start differs from the one before."""
        _configured("start", options.plain(config), reason or "Miner startup")

    def get_stats(self) -> dict[str, Any]:
        """Count the records: total_generations, accepted, acceptance_rate (percent), average_clip."""
        book = _book()
        return figures.stats(self.data_dir, "" if book is None else book.last)

    def _get_storage_stats(self) -> dict[str, Any]:
        """Measure the data_dir: free space, bytes and number of images and outputs."""
        return figures.storage(self.data_dir)


def _text(generation_id: Any) -> str:
    return (sanitize.text(generation_id, _MAX_SHOWN) or "").lower()


def _warn(generation_id: Any) -> None:
    log.warning(
        "otel_gen: unknown generation %r: the call is ignored", sanitize.text(generation_id, _MAX_SHOWN)
    )


def _capture() -> Capture | None:
    capture = install.active()
    return None if capture is None or capture.closed else capture


def _book() -> Book | None:
    capture = _capture()
    return None if capture is None else book_of(capture)


def _configured(kind: str, changes: dict[str, Any], reason: Any) -> None:
    capture = _capture()
    if capture is None or not changes:
        return
    text = sanitize.text(reason, 1024) or kind
    event = Configured(capture.clock.wall(), capture.clock.boot(), kind, changes, text)
    capture.journal.append(bounded(event))
