import gc
import threading
import time
import weakref

import pytest

from auditor.watchdog import Watch


def test_a_body_that_overruns_is_stopped_about_when_it_is_due() -> None:
    stopped = threading.Event()
    began = time.monotonic()
    with Watch(0.2, stopped.set):
        assert stopped.wait(5)
    assert 0.2 <= time.monotonic() - began < 2


def test_bodies_in_time_are_left_alone() -> None:
    calls: list[int] = []
    watch = Watch(0.2, lambda: calls.append(1))
    for _ in range(5):
        with watch:
            time.sleep(0.06)
    time.sleep(0.3)
    assert calls == []


def test_a_body_that_begins_late_has_its_whole_time_and_no_more() -> None:
    stopped = threading.Event()
    watch = Watch(1.0, stopped.set)
    time.sleep(0.1)  # the watching thread sleeps by now, and wakes before the body is due
    began = time.monotonic()
    with watch:
        assert stopped.wait(5)
    assert 1.0 <= time.monotonic() - began < 1.7


def test_it_is_stopped_once() -> None:
    calls: list[int] = []
    with Watch(0.05, lambda: calls.append(1)):
        time.sleep(0.3)
    assert calls == [1]


def test_a_short_limit_does_not_wait_for_a_long_one() -> None:
    long = Watch(1000, lambda: pytest.fail("the long limit is not over"))
    stopped = threading.Event()
    with long, Watch(0.1, stopped.set):
        assert stopped.wait(5)


def test_an_error_passes_and_ends_the_limit() -> None:
    calls: list[int] = []
    watch = Watch(0.1, lambda: calls.append(1))
    with pytest.raises(ValueError, match="inside"), watch:
        raise ValueError("inside")
    time.sleep(0.25)
    assert calls == []


def test_a_watch_does_not_outlive_its_owner() -> None:
    watch = Watch(1000, lambda: None)
    reference = weakref.ref(watch)
    del watch
    gc.collect()
    assert reference() is None
