"""The calls of the logger that services had before, on top of otel_gen: change one import, keep the rest."""

from otel_gen.legacy.door import get_logger, init_logger, log_startup_config
from otel_gen.legacy.logger import GenerationDataLogger

__all__ = ["GenerationDataLogger", "get_logger", "init_logger", "log_startup_config"]
