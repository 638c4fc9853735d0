"""The errors that delivery, readers and settings raise; capture raises none into the application.

OtelGenError
+-- SettingsError      a wrong setting, raised by configure()
+-- StorageError       a file or directory that cannot be used: place, reason, next step
|   +-- DamageError    bytes that are not what was written: path and offset
+-- LeaderBusyError    another process delivers for this data_dir and did not answer in time
+-- UnknownGenerationError   feedback for an id that nobody knows (command line, HTTP)
+-- MissingExtraError  an optional package is not installed
"""

from __future__ import annotations


class OtelGenError(Exception):
    """Base of every error of otel_gen; its text says what, where and what to do."""


class SettingsError(OtelGenError, ValueError):
    """Tell that a setting is unknown or has a wrong value."""


class StorageError(OtelGenError):
    """Tell that a path cannot be used as storage."""

    def __init__(self, path: object, reason: str, hint: str = "") -> None:
        self.path, self.reason, self.hint = str(path), reason, hint
        super().__init__(f"{self.path}: {reason}" + (f"; {hint}" if hint else ""))


class DamageError(StorageError):
    """Tell where stored bytes are not what was written."""

    def __init__(self, path: object, offset: int, reason: str, hint: str = "") -> None:
        self.offset = offset
        super().__init__(path, f"offset {offset}: {reason}", hint)


class LeaderBusyError(OtelGenError):
    """Tell that the process which delivers for this data_dir did not answer in time."""


class UnknownGenerationError(OtelGenError, LookupError):
    """Tell that no generation with this id or task id is known in the data_dir."""


class WrongValidatorError(OtelGenError):
    """Tell that a verdict comes from another validator than the one who asked for the generation."""


class MissingExtraError(OtelGenError, ImportError):
    """Tell which extra brings a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'otel-gen[{extra}]'")
