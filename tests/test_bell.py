"""Latch: set once; a wait that a signal interrupts leaves nothing that the next one meets."""

from __future__ import annotations

import signal
import threading

import pytest

from otel_gen.bell import Latch


def test_a_latch_lets_all_pass_once_it_is_set():
    latch, passed = Latch(), []
    threads = [threading.Thread(target=lambda: passed.append(latch.wait(20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert not latch.wait(0.01)
    assert not latch.is_set()
    latch.set()
    latch.set()
    for thread in threads:
        thread.join(20)
    assert passed == [True] * 5
    assert latch.wait(0)
    assert latch.is_set()


def test_an_interrupted_wait_keeps_nobody_from_setting_it():
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for n in range(200):
            latch = Latch()
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (n % 20 + 1))
                while True:
                    latch.wait(0.00001)
            setter = threading.Thread(target=latch.set)
            setter.start()
            setter.join(20)
            assert latch.wait(20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
