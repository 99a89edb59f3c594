"""Evaluators and attacks of other libraries, each as a function from inputs and labels to candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers import Net
from benchmarks.shared import Case

Attack = Callable[[Tensor, Tensor], Tensor]


def torchattacks_autoattack(net: Net, case: Case, seed: int) -> Attack:
    """AutoAttack-standard of torchattacks, linf."""
    import torchattacks

    attack = torchattacks.AutoAttack(
        net, norm="Linf", eps=case.threat.epsilon, version="standard", n_classes=case.target.classes, seed=seed
    )
    return lambda x, y: attack(x, y)


def art_autoattack(net: Net, case: Case, seed: int) -> Attack:
    """AutoAttack of the Adversarial Robustness Toolbox, linf, as it comes."""
    from art.attacks.evasion import AutoAttack

    attack = AutoAttack(_classifier(net, case), norm=np.inf, eps=case.threat.epsilon, eps_step=case.threat.epsilon / 4)
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def foolbox_pgd(net: Net, case: Case, seed: int) -> Attack:
    """Foolbox's linf PGD, 40 steps."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=0.1)
    return lambda x, y: attack(model, x, y, epsilons=case.threat.epsilon)[1]


def foolbox_fmn(net: Net, case: Case, seed: int) -> Attack:
    """Foolbox's linf FMN, 100 steps; what lies beyond epsilon is no break."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LInfFMNAttack(steps=100)
    return lambda x, y: attack(model, x, y, epsilons=case.threat.epsilon)[1]


def torchattacks_fab(net: Net, case: Case, seed: int) -> Attack:
    """FAB of torchattacks (Foolbox has none), linf, 100 steps."""
    import torchattacks

    attack = torchattacks.FAB(
        net, norm="Linf", eps=case.threat.epsilon, steps=100, n_classes=case.target.classes, seed=seed
    )
    return lambda x, y: attack(x, y)


def _classifier(net: Net, case: Case) -> object:
    from art.estimators.classification import PyTorchClassifier

    shape = case.samples.shape
    return PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, *shape) if len(shape) == 2 else shape,
        nb_classes=case.target.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


LIBRARIES: dict[str, Callable[[Net, Case, int], Attack]] = {
    "torchattacks-autoattack": torchattacks_autoattack,
    "art-autoattack": art_autoattack,
    "foolbox-pgd": foolbox_pgd,
    "foolbox-fmn": foolbox_fmn,
    "torchattacks-fab": torchattacks_fab,
}
