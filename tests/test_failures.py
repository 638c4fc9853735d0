"""Failures: the closed set of error types, by class and by message, without running foreign code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess

import pytest

from otel_gen.failures import classify, describe, label


def named(name, base=Exception):
    return type(name, (base,), {})


class HostileError(Exception):
    def __str__(self):
        raise SystemExit

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "oom"),
        (named("OutOfMemoryError", RuntimeError)("x"), "oom"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
        (concurrent.futures.TimeoutError(), "timeout"),
        (subprocess.TimeoutExpired("x", 1), "timeout"),
        (named("ReadTimeout")(), "timeout"),
        (ConnectionRefusedError(), "connection"),
        (BrokenPipeError(), "connection"),
        (named("ConnectError")("x"), "connection"),
        (named("ClientConnectorError", OSError)("x"), "connection"),
        (named("ConnectedComponentsFault")("x"), "crash"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(), "cancelled"),
        (ValueError("x"), "crash"),
        (HostileError("x"), "crash"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_an_exception_is_classified_by_class_and_message(error, word):
    assert classify(error) == word


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("oom", "oom"), ("GPU_OOM", "oom"), ("timed out", "timeout"), ("ConnectionRefused", "connection"),
        ("client disconnected", "cancelled"), ("weights missing", "other"), ("", "other"), (None, "other"),
        ("crash", "crash"), ("RuntimeError", "crash"),
    ],
)  # fmt: skip
def test_a_callers_own_word_has_the_nearest_label(word, found):
    assert label(word) == found


def test_a_description_runs_none_of_the_exceptions_own_code():
    found = describe(HostileError("said", object()))
    assert (found.error_class, found.message, found.error_type) == ("HostileError", "said", "crash")


def test_the_stack_names_frames_and_leaves_the_middle_of_a_deep_one_out():
    def deeper(n):
        return deeper(n - 1) if n else 1 / 0

    try:
        deeper(200)
    except ZeroDivisionError as error:
        stack = describe(error).stack
    assert "frames left out" in stack
    assert stack.count("\n") == 50
    assert stack.splitlines()[-1].endswith("in deeper")
