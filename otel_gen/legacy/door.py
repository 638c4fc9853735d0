"""The door: one logger per process, as services asked for it."""

from __future__ import annotations

from typing import Any

from otel_gen.guard import log
from otel_gen.legacy.logger import GenerationDataLogger

_logger: GenerationDataLogger | None = None


def init_logger(
    data_dir: Any = None, miner_uid: Any = None, miner_version: Any = None, **more: Any
) -> GenerationDataLogger:
    """Configure this process and give its logger. Raises SettingsError for a wrong option.

    Options: network, store_images, store_ply_files, ply_min_score_threshold, store_rejected_sample_rate,
    disk_space_alert_threshold, ply_storage_alert_gb, stats_log_interval, and every setting of configure().
    """
    global _logger
    _logger = GenerationDataLogger(data_dir, miner_uid, miner_version, **more)
    return _logger


def get_logger() -> GenerationDataLogger | None:
    """Give the logger; None before init_logger()."""
    return _logger


def log_startup_config(config: Any, reason: Any = "Miner startup") -> None:
    """Tell the config history with which settings the service starts."""
    if _logger is None:
        log.warning("otel_gen: log_startup_config() before init_logger(): ignored")
    else:
        _logger.log_startup_config(config, reason)
