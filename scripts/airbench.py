"""CIFAR-10 by another program: airbench's network and recipe, narrower, within the same FLOPs.

    python -m scripts.airbench cifar10.npz
    python -m scripts.airbench cifar10.npz --share 0.2 --network cnn
    python -m scripts.airbench cifar10.npz --share 0.1 --network cnn --free --learning-rate 0.02

What Jordan 2024 (arXiv:2404.00498) reaches 94 % with on the lossless images, in the form of it that
trains by Muon, in PyTorch: a layer that whitens, three groups of two convolutions, learned from
alternating sides and shifted images, and judged with test-time augmentation. Half as wide, it sees
its 40,000 training images eleven times within the FLOPs of 100 epochs of the classic network of
`scripts/cifar10.py`. Selects nothing, and prints the accuracy on 10,000 validation images. With
`--network cnn` the same recipe trains the network of our family `cnn`, which tells the network from
the recipe.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlagent_envs.models import CNN, Rung, ShapeClass
from scripts.convolution import TorchNetwork

FLOPS = 9.1e13
TRAIN_ROWS = 40_000
BATCH, SHIFT, LABEL_SMOOTHING = 256, 2, 0.2
WHITENED, WIDTHS = 24, (32, 128, 128)
SIDES = (31, 15, 7, 3)  # of the images behind the first layer and behind each group
MOMENTUM = 0.6  # of kernels
MUON, BIAS, HEAD = 0.08, 0.053, 0.67  # learning rates; the first is a quarter to a third of theirs,
WEIGHT_DECAY = 2e-6 * BATCH  # which is for batches of 2,000
WHITENING_EPOCHS = 3  # for which the bias of the first layer learns
RUNG, PLAIN = Rung(1, 32), 0.001  # of the network of the family; rate of what Muon does not train


class Group(nn.Module):
    """Two convolutions, with a pool behind the first."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(before, width), _convolution(width, width)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, momentum=0.4, eps=1e-12) for _ in range(2))
        for norm in self.norms:
            norm.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norms[0](functional.max_pool2d(self.first(x), 2)))
        return functional.gelu(self.norms[1](self.second(x)))


class Network(nn.Module):
    """The whole of it, for standardised images `[batch, 3, 32, 32]`."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, WHITENED, 2)
        before = (WHITENED, *WIDTHS)
        self.groups = nn.Sequential(*(Group(*pair) for pair in zip(before, WIDTHS, strict=False)))
        self.head = nn.Linear(WIDTHS[-1], 10, bias=False)
        with torch.no_grad():
            self._whiten(images)

    def _whiten(self, images: Tensor) -> None:
        """The eigenvectors of patches of images, and their negatives."""
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        scaled = vectors.T.reshape(12, 3, 2, 2) / torch.sqrt(values + 5e-4).view(-1, 1, 1, 1)
        self.whitening.weight[:] = torch.cat([scaled, -scaled])
        self.whitening.weight.requires_grad = False
        assert self.whitening.bias is not None
        self.whitening.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(functional.gelu(self.whitening(x)))
        return self.head(functional.max_pool2d(x, 3).flatten(1)) / WIDTHS[-1]


def _convolution(before: int, width: int) -> nn.Conv2d:
    made = nn.Conv2d(before, width, 3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(made.weight[:before])
    return made


def family_flops() -> float:
    """Floating-point operations of training the network of the family on one image."""
    sizes = ShapeClass("cnn", RUNG, "classification", 3072, 10, BATCH, input_shape=(32, 32, 3))
    return CNN.flops(sizes)[1]


def image_flops() -> float:
    """Floating-point operations of training on one image, backward twice the forward pass."""
    products = 12 * WHITENED * SIDES[0] ** 2 + 10 * WIDTHS[-1]
    before = WHITENED
    for width, side, halved in zip(WIDTHS, SIDES, SIDES[1:], strict=False):
        products += 9 * width * (before * side**2 + width * halved**2)
        before = width
    return 6.0 * products


class Muon:
    """Orthogonal updates of kernels.

    Args:
        kernels: all of them.
        momentum: share of the sum of gradients that stays.
        kept: the norms of the kernels stay as they are.
    """

    def __init__(self, kernels: list[nn.Parameter], momentum: float, *, kept: bool) -> None:
        self.kernels, self.momentum, self.kept = kernels, momentum, kept
        self.momenta = [torch.zeros_like(kernel) for kernel in kernels]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for kernel, momentum in zip(self.kernels, self.momenta, strict=True):
            assert kernel.grad is not None
            momentum.mul_(self.momentum).add_(kernel.grad)
            if self.kept:
                kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
            change = _orthogonal(kernel.grad + self.momentum * momentum)
            kernel.add_(change, alpha=-learning_rate)


def _orthogonal(gradient: Tensor) -> Tensor:
    """By three iterations of Newton and Schulz."""
    x = gradient.reshape(len(gradient), -1)
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / (x.norm() + 1e-7)
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).reshape(gradient.shape)


def shifted(images: Tensor) -> Tensor:
    """Each image moved by up to two pixels along either side."""
    padded = functional.pad(images, (SHIFT,) * 4, "reflect")
    moved, offsets = torch.empty_like(images), torch.randint(0, 2 * SHIFT + 1, (len(images), 2))
    for down in range(2 * SHIFT + 1):
        for right in range(2 * SHIFT + 1):
            chosen = (offsets[:, 0] == down) & (offsets[:, 1] == right)
            moved[chosen] = padded[chosen][:, :, down : down + 32, right : right + 32]
    return moved


@torch.no_grad()
def accuracies(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Share of images that are right: by one side, by both, and by both and two shifts."""

    def both(images: Tensor) -> Tensor:
        made: Tensor = network(images) + network(images.flip(-1))
        return made / 2

    network.eval()
    right = dict.fromkeys(("one_side", "both_sides", "both_sides_and_shifts"), 0)
    for images, labels in zip(torch.split(x, 1000), torch.split(y, 1000), strict=True):
        padded, mean = functional.pad(images, (1,) * 4, "reflect"), both(images)
        moved = both(padded[:, :, :32, :32]) + both(padded[:, :, 2:, 2:])
        outputs = (network(images), mean, mean / 2 + moved / 4)
        for name, output in zip(right, outputs, strict=True):
            right[name] += int((output.argmax(1) == labels).sum())
    network.train()
    return {name: count / len(x) for name, count in right.items()}


def main() -> None:
    """Trains once."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--share", type=float, default=1.0, help="FLOPs, in those of 100 epochs")
    arguments.add_argument("--network", choices=("airbench", "cnn"), default="airbench")
    arguments.add_argument("--learning-rate", type=float, default=MUON, help="of the kernels")
    arguments.add_argument("--momentum", type=float, default=MOMENTUM, help="the same")
    arguments.add_argument("--free", action="store_true", help="norms of kernels are not kept")
    args = arguments.parse_args()
    torch.manual_seed(args.seed)
    with np.load(args.data) as file:
        x = torch.tensor(file["x_train"]).permute(0, 3, 1, 2).float() / 255
        y = torch.tensor(file["y_train"]).long()
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    train, valid = order[:TRAIN_ROWS], order[TRAIN_ROWS:]
    x_train, y_train = x[train], y[train]
    own = args.network == "cnn"
    network = TorchNetwork((32, 32, 3), RUNG) if own else Network(x_train[:5000])
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    each = family_flops() if own else image_flops()
    began, updates = time.monotonic(), int(args.share * FLOPS / each / BATCH)
    kernels = [one for one in network.parameters() if one.ndim == 4 and one.requires_grad]
    muon = Muon(kernels, args.momentum, kept=not args.free)
    learn(network, muon, x_train, y_train, updates, args.learning_rate)
    told: dict[str, Any] = {
        "network": args.network,
        "updates": updates,
        "epochs": updates * BATCH / TRAIN_ROWS,
        "seed": args.seed,
        "learning_rate": args.learning_rate,
        "momentum": args.momentum,
        "norms_kept": not args.free,
    }
    told |= {"seconds": round(time.monotonic() - began), "torch": torch.__version__}
    told["validation_accuracy"] = accuracies(network, x[valid], y[valid])
    print(json.dumps(told, indent=2))


def learn(network: nn.Module, muon: Muon, x: Tensor, y: Tensor, updates: int, rate: float) -> None:
    """Trains with learning rates that fall to zero in a line, from `rate` that of Muon."""
    if isinstance(network, Network):
        shifts = [one for one in network.groups.parameters() if one.ndim == 1 and one.requires_grad]
        rates = [BIAS, BIAS, HEAD]
        parts = [[network.whitening.bias], shifts, [network.head.weight]]
    else:
        rates, parts = [PLAIN], [[one for one in network.parameters() if one.ndim < 4]]
    plain = torch.optim.SGD(
        [
            {"params": part, "lr": first, "weight_decay": WEIGHT_DECAY / first}
            for part, first in zip(parts, rates, strict=True)
        ],
        momentum=0.85,
        nesterov=True,
    )
    sides, position, epoch = torch.rand(len(x)) < 0.5, len(x), -1
    order = torch.empty(0)
    for update in range(updates):
        if position + BATCH > len(x):
            order, position, epoch = torch.randperm(len(x)), 0, epoch + 1
        rows = order[position : position + BATCH]
        position += BATCH
        mirrored = sides[rows] ^ (epoch % 2 == 1)
        images = torch.where(mirrored[:, None, None, None], x[rows].flip(-1), x[rows])
        images = shifted(images).contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(
            network(images), y[rows], label_smoothing=LABEL_SMOOTHING, reduction="sum"
        )
        left = 1 - update / updates
        for group, first in zip(plain.param_groups, rates, strict=True):
            group["lr"] = first * left
        if isinstance(network, Network):
            whitening = 1 - update * BATCH / (WHITENING_EPOCHS * len(x))
            plain.param_groups[0]["lr"] = BIAS * max(0.0, whitening)
        plain.zero_grad()
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        plain.step()
        muon.step(rate * left)
        if update % 100 == 0:
            print(f"update {update} of {updates}, loss {float(loss.detach()) / BATCH:.3f}")


if __name__ == "__main__":
    main()
