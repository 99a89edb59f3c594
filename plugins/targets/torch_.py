"""Torch models: a factory in code, exported programs, TorchScript. All of them run code, so only with trust."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.environment import cpu_flags
from auditor.errors import AdvauditError, ModelError, UnsupportedOperator
from auditor.heads import flat_columns, two_columns
from auditor.hookspecs import hookimpl
from auditor.preprocess import ORDERS, Shape, channels_at
from auditor.readout import Ending, kind_of, probes
from auditor.target import Target, TargetOptions, digest_files
from auditor.torch_file import ADVICE, FACTORY, Loaded, build, digest_module, loader, words
from auditor.twin import Twin


@hookimpl
def load_target(ref: str, options: TargetOptions) -> Target | None:
    path, suffix = Path(ref), Path(ref).suffix.lower()
    if FACTORY.fullmatch(ref) and not path.exists():
        return _trusted(ref, options, lambda: build(ref))
    if suffix not in ADVICE and suffix not in (".pt", ".pth", ".pt2"):
        return None
    if not path.is_file():
        raise ModelError(f"There is no file {ref}; give the path of the model.")
    if suffix in ADVICE:
        raise ModelError(f"{path.name} {ADVICE[suffix]}")
    return _trusted(ref, options, loader(path))


def _trusted(ref: str, options: TargetOptions, load: Callable[[], Loaded]) -> Target:
    if not options.trust:
        raise ModelError(
            f"Loading {ref} runs code that comes with it; --trust-model allows that for a model whose maker you trust. "
            "Exported to ONNX it can be audited without."
        )
    return TorchTarget(ref, load(), options)


class Classifier(nn.Module):
    """Somebody's module, always in eval mode, with scores `[batch, classes]` for an answer.

    output: key or position of the scores where the module returns several things. size: the batch that it insists on.
    kind: what a single column of scores is taken for.
    """

    def __init__(self, module: nn.Module, output: str | None = None) -> None:
        super().__init__()
        self.module, self.output = module, output
        self.size: int | None = None
        self.kind = OutputKind.LOGITS
        self.eval()

    def train(self, mode: bool = True) -> Classifier:
        """Nothing but eval mode: an audit never trains."""
        self.training = False
        with contextlib.suppress(NotImplementedError):  # an exported program has no modes
            self.module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        blocks = [x] if self.size is None else torch.split(x, self.size)
        return two_columns(torch.cat([self.columns(block) for block in blocks]), self.kind)

    def columns(self, x: Tensor) -> Tensor:
        """What the module returns, `[batch, columns]`."""
        missing = (self.size or 0) - len(x)
        full = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing > 0 else x
        scores = self._tensor(self.module(full))
        if scores.ndim == 1 and len(full) == 1:
            scores = scores[None]
        return flat_columns(scores)[: len(x)]

    def _tensor(self, answer: Any) -> Tensor:
        if isinstance(answer, Mapping):
            keys = [self.output] if self.output is not None else ["logits", *answer]
            answer = next((answer[key] for key in keys if key in answer), None)
        elif isinstance(answer, tuple | list):
            place = self.output or "0"
            answer = answer[int(place)] if place.isdecimal() and int(place) < len(answer) else None
        if not isinstance(answer, Tensor):
            raise ModelError(
                f"A classifier should return a tensor of scores, or hold one under output {self.output!r}; "
                f"this one returns {type(answer).__name__}."
            )
        return answer


class TorchTarget(Target):
    """A torch module as it is: in eval mode, in the precision of its parameters, on the device asked for.

    Its twin is a copy of itself in float32. One that does not say its shape takes that of the samples. A run can't be
    stopped from outside: what hangs, hangs.
    Raises ModelError where the module can't be run.
    """

    def __init__(self, ref: str, loaded: Loaded, options: TargetOptions) -> None:
        module = loaded.module
        self.name, self.options, self.preprocess = Path(ref).name, options, options.preprocess
        self.path = Path(ref) if Path(ref).is_file() else None
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ModelError("Device cuda was asked for, but torch sees no CUDA device; use --device cpu.")
        self.sha256 = digest_files([self.path]) if self.path else digest_module(module)
        self._classifier = Classifier(module, options.output).to(options.device)
        floats = [p.dtype for p in module.parameters() if p.is_floating_point()]
        self._dtype = floats[0] if floats else torch.float32
        self.shape, self.batch, self.class_names = loaded.shape, loaded.batch, loaded.class_names
        self.classes = 0  # known once the shape is
        self.runtime = {
            "name": "torch",
            "version": torch.__version__,
            "provider": options.device,
            "precision": str(self._dtype).removeprefix("torch."),
            "threads": str(torch.get_num_threads()),
            "tf32": "off",
            "cpu_flags": " ".join(cpu_flags()),
        }
        if self.shape:
            self._try_out()

    def fit(self, sample_shape: Shape) -> None:
        """Settle how samples of this shape reach the module; one that names no shape is tried out with it."""
        if not self.classes:
            self.shape = tuple(sample_shape)
            stands, wanted = channels_at(self.shape), {"nchw": 0, "nhwc": 2}.get(self.preprocess.layout or "")
            if wanted is not None and stands not in (None, wanted):
                self.shape = tuple(sample_shape[axis] for axis in ORDERS[str(self.preprocess.layout)])
            self._try_out()
        super().fit(sample_shape)

    def twin(self) -> Twin:
        """A copy of the module. Raises UnsupportedOperator where it can't be copied or has no gradient."""
        try:
            with warnings.catch_warnings(), torch.no_grad():  # a copied TorchScript parameter stays a leaf
                warnings.simplefilter("ignore")
                module = copy.deepcopy(self._classifier).to("cpu", torch.float32)
            x = torch.rand((1, *self.shape), generator=torch.Generator().manual_seed(0)).requires_grad_()
            differentiable = module(x).requires_grad
        except Exception as error:  # copying and running somebody's module can fail in any way
            raise UnsupportedOperator(f"{self.name} can't be copied for its gradients ({words(error)}).") from error
        if not differentiable:
            raise UnsupportedOperator(f"The scores of {self.name} have no gradient; it is audited gradient-free.")
        return Twin(module=module, preprocess=self.preprocess, output=self.output)

    def _try_out(self) -> None:
        """Learn from probes how many classes there are, what the scores are, and whether any batch will do."""
        classifier = self._classifier
        classifier.size, classifier.kind = self.batch, OutputKind.LOGITS
        rows = np.concatenate([self._answer(x, classifier.columns) for x in probes((self.batch or 1, *self.shape))])
        if rows.dtype.kind != "f":
            raise ModelError(f"{self.name} should return scores, it returns values of type {rows.dtype}.")
        self.output = classifier.kind = kind_of(rows, Ending())
        self.classes = max(2, rows.shape[1])
        if self.batch is None:
            try:
                answered = len(self._answer(next(probes((2, *self.shape))), classifier.columns))
            except ModelError:
                answered = 1
            self.batch = classifier.size = None if answered == 2 else 1

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._answer(x, self._classifier)

    def _answer(self, x: np.ndarray, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        try:
            with torch.no_grad(), _exactly(self.options.device):
                answer = function(torch.tensor(x).to(self.options.device, self._dtype))
            array: np.ndarray = (answer.float() if answer.is_floating_point() else answer).cpu().numpy()
        except AdvauditError:
            raise
        except Exception as error:  # it is somebody's code
            raise ModelError(
                f"{self.name} could not be run on inputs of shape {list(x.shape)}: {words(error)}."
            ) from error
        return array


@contextlib.contextmanager
def _exactly(device: str) -> Iterator[None]:
    """Full float32 and repeatable algorithms while a GPU computes."""
    if device != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
