"""A function run in a process of its own, under limits, so that a hostile file can only harm that process.

The child is a fresh interpreter (`python -m auditor.sandbox`), not a fork: it shares no memory, no open file and no
thread with its parent. Question and answer travel as JSON through pipes, checked against their types on both ends.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import signal
import subprocess
import sys
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from auditor.errors import AdvauditError, ModelError

if sys.platform != "win32":
    import resource

Question = TypeVar("Question")
Answer = TypeVar("Answer")
GRACE = 5.0
"""Seconds that the child gets beyond its limit: to start, and to say itself what took so long."""
GIB = 1 << 30


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is asked: `module:function` with its argument, and the limits it puts itself under."""

    function: str
    argument: msgspec.Raw
    timeout: float
    memory: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says: the answer, or one sentence on why there is none."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


def confined(
    function: Callable[[Question], Answer], question: Question, *, subject: str, timeout: float, memory: int
) -> Answer:
    """function(question), computed in a spawned process.

    function: a module's own, with annotated types that msgspec can encode. subject: what a failure is said of. timeout:
    seconds, of wall time and of processor time. memory: bytes of address space. The child may write no file and
    leaves no core; on Linux the kernel keeps all of these, elsewhere the wall time holds at least.
    Raises ModelError with the child's own sentence, or with what ended it.
    """
    call = Call(
        function=f"{function.__module__}:{function.__qualname__}",
        argument=msgspec.Raw(msgspec.json.encode(question)),
        timeout=timeout,
        memory=memory,
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "auditor.sandbox"],  # -P: nothing is imported from the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    limits = f"limits: {timeout:g} s, {memory / GIB:.3g} GiB; --trust-model lifts them"
    with child:
        try:
            output, _ = child.communicate(msgspec.json.encode(call), timeout + GRACE)
        except subprocess.TimeoutExpired:
            raise ModelError(f"{subject} did not answer in time and was stopped ({limits}).") from None
        finally:
            child.kill()
    try:
        reply = msgspec.json.decode(output, type=Reply)
        if reply.error is None:
            return typing.cast(Answer, msgspec.json.decode(reply.answer, type=_types(function)[1]))
    except msgspec.DecodeError:
        raise ModelError(f"{subject} {_ending(child.returncode)} while it was tried out ({limits}).") from None
    raise ModelError(reply.error)


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code == -getattr(signal, "SIGXCPU", 0):
        return "took too much processor time"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed its process ({signal.Signals(-code).name})"
    return f"ended its process (exit code {code})"


def _types(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Types of the argument and of the answer, by the function's annotations."""
    hints = typing.get_type_hints(function)
    answer = hints.pop("return")
    return next(iter(hints.values())), answer


def _limit(call: Call) -> None:
    if sys.platform == "win32":
        return
    seconds = math.ceil(call.timeout + GRACE)
    for name, amount in (
        ("RLIMIT_AS", call.memory),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a limit that is already lower stays
            resource.setrlimit(getattr(resource, name), (amount, amount))


def main() -> None:
    """The child's whole life."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints does not mix into the answer
    call = msgspec.json.decode(sys.stdin.buffer.read(), type=Call)
    _limit(call)
    try:
        module, _, name = call.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        answer = function(msgspec.json.decode(call.argument, type=_types(function)[0]))
        reply = Reply(answer=msgspec.Raw(msgspec.json.encode(answer)))
    except AdvauditError as error:
        reply = Reply(error=str(error))
    except MemoryError:
        reply = Reply(error=f"The file needs more than {call.memory / GIB:.3g} GiB; --trust-model lifts the limit.")
    except Exception as error:
        reply = Reply(
            error=f"The file could not be tried out ({type(error).__name__}: {' '.join(str(error).split())})."
        )
    answers.write(msgspec.json.encode(reply))
    answers.flush()
    os._exit(0)  # no destructor of the file's native objects runs after the answer


if __name__ == "__main__":
    main()
