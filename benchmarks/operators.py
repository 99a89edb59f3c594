"""onnx's own node tests on our twin, two converters to torch, and onnxruntime, side by side.

    python -m benchmarks.operators [--only twin] [--filter REGEX]

Every backend plays the same cases in a process of its own, with a time limit for each, so that a crash or a hang is a
failure like any other. The twin's gradients are checked as well. What the twin does not pass is listed with its reason.
Exits with 1 where a whole run misses the goal: no value without an error that neither the case nor onnxruntime has, no
wrong gradient, 98 % of what onnxruntime passes, and more cases than every other.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.node_cases import AS_DEPLOYED, Case, Outcome, Result, load_cases

BACKENDS = ("twin", "onnx2pytorch", "onnx2torch", "onnxruntime")
SHARE = 0.98
"""Of the cases that onnxruntime passes, how many the twin must pass."""

FINE = ("correct", "correct but for a kink", "surrogate", "not finite")
"""What may be said of a gradient: checked, checked beside a kink, or not the derivative, or not to be checked."""


def work(backend: str, cases: list[Case], pipe: Connection) -> None:
    """Answer numbers of cases with their results, until the other end is closed."""
    import torch

    from benchmarks.node_play import play

    torch.set_num_threads(1)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        pipe.send(play(backend, cases[number]))


def played(backend: str, cases: list[Case], limit: float) -> Iterator[Result]:
    """The result of every case; a process that dies or exceeds the limit is replaced by another."""
    context = get_context("fork")  # the cases take seconds to generate, the processes inherit them
    pipe = process = None
    for number, case in enumerate(cases):
        if process is None or pipe is None:
            pipe, far = context.Pipe()
            process = context.Process(target=work, args=(backend, cases, far), daemon=True)
            process.start()
            far.close()
        pipe.send(number)
        try:
            if pipe.poll(limit):
                yield pipe.recv()
                continue
            reason = f"exceeded {limit:g} seconds"
        except (EOFError, ConnectionError):
            reason = "the process died"
        process.kill()
        process.join()
        pipe = process = None
        yield Result(case.name, Outcome.FAILED, reason)


def table(results: dict[str, list[Result]]) -> str:
    """One line a backend: how many cases came to what, and its share of those that onnxruntime passes."""
    lines = [f"{'':14}" + "".join(f"{outcome.value:>9}" for outcome in Outcome) + f"{'of onnxruntime':>18}"]
    reference = passes(results.get("onnxruntime", []))
    for backend, found in results.items():
        counts = Counter(result.outcome for result in found)
        line = f"{backend:14}" + "".join(f"{counts[outcome]:>9}" for outcome in Outcome)
        lines.append(line + (f"{len(passes(found) & reference) / len(reference):>18.1%}" if reference else ""))
    return "\n".join(lines)


def passes(results: list[Result]) -> set[str]:
    return {result.case for result in results if result.outcome is Outcome.PASS}


def listing(found: list[Result], reference: set[str]) -> str:
    """The cases that were not passed, by reason; an asterisk marks those that onnxruntime passes."""
    groups = defaultdict(list)
    for result in found:
        if result.outcome is not Outcome.PASS:
            star = "*" if result.case in reference else ""
            groups[result.outcome.value, short(result.reason)].append(result.case.removeprefix("test_") + star)
    lines = []
    for (outcome, reason), names in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(names):4} {outcome}: {reason}\n       {', '.join(names)}")
    return "\n".join(lines)


def short(reason: str) -> str:
    """The reason without what only that node has."""
    reason = re.sub(r" \(opset \d+, node '[^']*'\)", "", reason)
    return re.sub(r"; the audit goes on gradient-free\..*", "", reason)


def gradients(found: list[Result]) -> str:
    """How the gradient checks went, with every failure."""
    counts = Counter(result.gradient for result in found if result.gradient in FINE)
    wrong = [result for result in found if result.gradient and result.gradient not in FINE]
    lines = [", ".join(f"{name} {counts[name]}" for name in FINE) + f", wrong {len(wrong)}"]
    return "\n".join(lines + [f"     {result.case}: {result.gradient}" for result in wrong])


def missed(results: dict[str, list[Result]]) -> list[str]:
    """What a whole run says against the twin, in words; empty where the goal is reached."""
    twin, reference = passes(results["twin"]), passes(results["onnxruntime"])
    found = [
        f"{backend} passes as many cases"
        for backend, other in results.items()
        if backend != "twin" and len(passes(other)) >= len(twin)
    ]
    if len(twin & reference) < SHARE * len(reference):
        found.append(f"the twin passes less than {SHARE:.0%} of what onnxruntime passes")
    wrong = [result for result in results["twin"] if result.outcome is Outcome.WRONG]
    if not all(result.reason.endswith(AS_DEPLOYED) for result in wrong):
        found.append("the twin returned a value, without an error, that neither the case nor onnxruntime has")
    if any(result.gradient and result.gradient not in FINE for result in results["twin"]):
        found.append("one of the twin's gradients is not that of finite differences")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BACKENDS, default=BACKENDS, metavar="BACKEND")
    parser.add_argument("--filter", default="", metavar="REGEX", help="play only the cases whose names match")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="for one case")
    arguments = parser.parse_args()
    cases = load_cases(arguments.filter)
    results = {}
    for backend in arguments.only:
        if backend != "twin" and find_spec(backend) is None:
            print(f"{backend} is not installed: left out")
            continue
        results[backend] = list(played(backend, cases, arguments.limit))
    print(f"{len(cases)} cases\n{table(results)}")
    if "twin" in results:
        print(f"\nThe twin's gradients: {gradients(results['twin'])}")
        print(f"\nNot passed by the twin:\n{listing(results['twin'], passes(results.get('onnxruntime', [])))}")
    if arguments.filter or set(results) != set(BACKENDS):
        return 0
    reasons = missed(results)
    print("".join(f"\nMissed: {reason}." for reason in reasons) or "\nThe goal is reached.")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
