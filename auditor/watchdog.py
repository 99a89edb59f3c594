"""A time limit on native code that holds no Python lock: one thread watches all limits and stops what overruns."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType

NEVER = float("inf")
LONGEST = threading.TIMEOUT_MAX


class Watch:
    """`with watch: run()` calls `stop` once if the body takes longer than `timeout` seconds.

    Choose it for calls that another thread can end, such as a session run by its `RunOptions.terminate`. Entering and
    leaving cost less than a microsecond: they only write the deadline, and the watching thread sleeps until the
    nearest one that could be due. A body that ends in the very moment it is due may leave `stop` to hit the next one:
    whoever is stopped should look at the clock, or try again.
    """

    def __init__(self, timeout: float, stop: Callable[[], None]) -> None:
        self.timeout = min(timeout, LONGEST)
        self.stop = stop
        self.deadline = NEVER
        _watchdog.add(self)

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self.timeout

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deadline = NEVER


class _Watchdog:
    """The thread behind all watches; it starts with the first and never keeps a program alive."""

    def __init__(self) -> None:
        self.watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        with self.changed:
            self.watches.add(watch)
            if self.thread is None:
                self.thread = threading.Thread(target=self.patrol, name="watchdog", daemon=True)
                self.thread.start()
            self.changed.notify()

    def patrol(self) -> None:
        while True:
            with self.changed:
                self.changed.wait(self.round())

    def round(self) -> float | None:
        """Stop what is overdue; seconds until something may be overdue again, None where nothing is watched."""
        now = time.monotonic()
        nearest: float | None = None
        for watch in list(self.watches):
            if watch.deadline <= now:
                watch.deadline = NEVER
                watch.stop()
            # a body that starts right now can't be overdue before its whole time has passed
            due = min(watch.deadline - now, watch.timeout)
            nearest = due if nearest is None else min(nearest, due)
        return nearest


_watchdog = _Watchdog()
