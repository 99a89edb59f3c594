"""From a model file to its differentiable twin."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from auditor.access import OutputKind
from auditor.batching import Batched, batched, close
from auditor.chance import CHANCE
from auditor.errors import ModelError, UnsupportedOperator
from auditor.fusion import fused
from auditor.graph import Graph
from auditor.heads import two_columns
from auditor.operators import Operators
from auditor.peel import Cut, cuts, keeps_order, unpeeled
from auditor.preprocess import Preprocess
from auditor.program import Program, read_program
from auditor.record import FLAT
from auditor.twin import Twin

PROBES = 3
QUANTISED = 0.02
"""Share of the largest probability by which rounding to 8 bits, and what it does to a sum, may move another."""


@CHANCE.still()  # so that ways of running a file that draws random numbers can be compared
def build_twin(
    model: onnx.ModelProto,
    *,
    output: str,
    kind: OutputKind,
    preprocess: Preprocess,
    operators: Operators,
    fixed_batch: bool,
) -> Twin:
    """A twin of one output of the file, on the CPU in float32, for batches of any size.

    The last softmax, log-softmax, sigmoid or decision is cut off where it can be. A few random inputs decide how
    batches are run (`auditor.batching`); no global random state is touched. Costs about ten forward passes of one
    sample.

    model: with its external data loaded. output: name of the value to audit, `[N]`, `[N, classes]` or that with axes of
    length 1. kind: what it holds. preprocess: from samples to the file's input; fitted, if the file leaves the shape of
    its input open. operators: the registry. fixed_batch: whether the file insists on the batch it states.
    Raises UnsupportedOperator where an operator that the output depends on is lacking or no gradient leads from the
    output to the input, as in a forest; ModelError where the graph can't be run or its output is not one score a class.
    """
    program = read_program(model, operators)
    ends = cuts(program, output) if kind is not OutputKind.LABELS else []
    program = fused(program, [output, *(cut.logits for cut in ends)], operators)
    stated = program.shape[0] if program.shape else None
    size = stated if fixed_batch and stated else 1
    probes = _probes(program, preprocess)
    module = batched(lambda free: Graph(program, output, operators, free_batch=free), size, probes)
    peeled, whole = None, None
    for cut in ends:
        bare = _ending_at(cut.logits, program, operators, size, probes)
        if bare is None:
            continue
        with torch.no_grad():
            fits, exact = _fits(bare(probes), cut, two_columns(module(probes), kind))
        if fits:
            module, whole, peeled = bare, None if exact else module, cut.peeled
            break
    graph = (whole or module).graph
    surrogates = graph.surrogates
    if not module(probes.clone().requires_grad_()).requires_grad:
        why = "; ".join(surrogates) or "no operator has one"
        raise UnsupportedOperator(
            f"The file can be followed node by node, but {FLAT} ({why}); the audit goes on gradient-free."
        )
    return Twin(
        module=module,
        preprocess=preprocess,
        output=kind,
        peeled=peeled,
        surrogates=surrogates,
        whole=whole,
        random=graph.random,
    )


def _ending_at(value: str, program: Program, operators: Operators, size: int, probes: Tensor) -> Batched | None:
    """The graph up to a value; None where that is not one score a class."""
    try:
        return batched(lambda free: Graph(program, value, operators, free_batch=free), size, probes)
    except ModelError:
        return None


def _fits(logits: Tensor, cut: Cut, scores: Tensor) -> tuple[bool, bool]:
    """Whether the scores prefer a class where the logits do, and whether they are what was cut off makes of them."""
    if logits.shape[1] == 1 and cut.peeled != "sigmoid":
        return False, False  # over one class, where there is nothing to choose from
    exact = cut.plain and close(lambda raw: unpeeled(raw, cut.peeled), logits, scores)
    rounded = cut.peeled != "decision" and close(lambda raw: unpeeled(raw, cut.peeled), logits, scores, QUANTISED)
    return exact or rounded or keeps_order(scores, logits), exact


def _probes(program: Program, preprocess: Preprocess) -> Tensor:
    """Inputs in the file's units: one like an image, one of noise, one of loud noise."""
    generator = torch.Generator().manual_seed(0)
    shape = preprocess.model_shape or tuple(length for length in program.shape[1:] if length is not None)
    if not preprocess.model_shape and None in program.shape[1:]:
        raise ModelError(
            f"The file leaves the shape of its input open ({list(program.shape)}); "
            "fit the preprocessing to the samples first."
        )
    image = torch.rand((1, *(preprocess.sample_shape or shape)), generator=generator)
    noise = torch.randn((PROBES - 1, *shape), generator=generator)
    first = preprocess(image) if preprocess.sample_shape else image
    return torch.cat([first, noise[:1], 3 * noise[1:]])
