"""Decisions of DACBench's `SGDEnv`, on a network and data that it is given.

DACBench imports torchvision without declaring it, for the data sets alone. A stub takes its place:
rows that are tensors and normalised already, so that DACBench is spared the decoding and the
transforms that it would do for each row; what it is timed at is the better for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from scripts.peers.side import Round, repetitions

NAME = "MNIST"
RATES = (1e-3, 7e-4)
CUTOFF = 1_000_003  # decisions of an episode; see _check_evaluation


class DacbenchDecisions:
    """One environment, within an episode: neither its resets nor its test evaluation count."""

    def __init__(self, options: dict[str, Any]) -> None:
        torch.set_num_threads(options["threads"])
        with np.load(options["data"], allow_pickle=False) as arrays:
            data = {name: arrays[name] for name in arrays.files}
        _install_stub(data)
        self.env = _environment(data, options)
        self.env.reset(seed=0)
        self.batches = len(self.env.train_loader)
        _check_evaluation(self.batches)
        self.epochs, self.taken = options["epochs"], 0
        self._decide()
        self.count = repetitions(self._decide, options["seconds"], time.perf_counter)
        batch = self.env.instance.batch_size
        valid = len(self.env.validation_loader.dataset)
        self.facts = {
            "network": f"784-{options['width']}x{options['depth']}-10",
            "batch": batch,
            "updates per decision": float(self._updates()),
            "rows evaluated": int(min(np.ceil(0.1 * valid / batch) * batch, valid)),
            "torch threads": torch.get_num_threads(),
        }

    def round(self) -> Round:
        """A number of decisions."""
        begun = time.perf_counter()
        for _ in range(self.count):
            self._decide()
        seconds = time.perf_counter() - begun
        return Round(seconds, self.count * self._updates(), self.count)

    def _updates(self) -> int:
        return self.batches if self.epochs else 1

    def _decide(self) -> None:
        rate = RATES[self.taken % 2]
        self.taken += 1
        _, _, terminated, truncated, _ = self.env.step(rate)
        if terminated or truncated:
            raise RuntimeError("DACBench ended the episode: the network diverged")


def _check_evaluation(batches: int) -> None:
    """DACBench looks at all validation rows in place of a tenth if batches divide the cutoff."""
    if CUTOFF % batches == 0:
        raise RuntimeError(f"{batches} batches divide the cutoff {CUTOFF}: choose another")


def _environment(data: dict[str, np.ndarray], options: dict[str, Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of parts that are not installed
        from dacbench.benchmarks import SGDBenchmark  # type: ignore[import-not-found]
        from dacbench.envs import SGDInstance  # type: ignore[import-not-found]
        from dacbench.envs.env_utils import sgd_utils  # type: ignore[import-not-found]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        file.write_text(json.dumps(_layers(options["width"], options["depth"])), "utf-8")
        model = sgd_utils.get_model_constructor("from_file", [str(file)])
    rows = len(data["x_train"]) + len(data["x_valid"])
    instance = SGDInstance(
        model=model,
        optimizer_type="AdamW",
        optimizer_params={},
        dataset_path=".",
        dataset_name=NAME,
        batch_size=options["batch"],
        fraction_of_dataset=1,
        train_validation_ratio=len(data["x_train"]) / rows,
        seed=0,
    )
    benchmark = SGDBenchmark()
    benchmark.config.update(
        epoch_mode=options["epochs"],
        cutoff=CUTOFF,
        instance_set={0: instance},
        dataset_config={NAME: {"train_transform": None, "test_transform": None}},
    )
    return benchmark.get_environment()


def _layers(width: int, depth: int) -> list[list[Any]]:
    """The network in the form of DACBench's own model files."""
    layers: list[list[Any]] = [["FLATTEN", {}]]
    inputs = 784
    for _ in range(depth):
        layers += [["LINEAR", {"in_features": inputs, "out_features": width}], ["RELU", {}]]
        inputs = width
    output = {"in_features": inputs, "out_features": 10}
    return [*layers, ["LINEAR", output], ["LOGSOFTMAX", {"dim": 1}]]


def _install_stub(data: dict[str, np.ndarray]) -> None:
    """Puts a module in the place of torchvision, with one data set and no transforms."""

    def tensors(*parts: str) -> tuple[torch.Tensor, list[int]]:
        x = np.concatenate([data[f"x_{part}"] for part in parts]).reshape(-1, 1, 28, 28)
        return torch.from_numpy(x), np.concatenate([data[f"y_{part}"] for part in parts]).tolist()

    parts = {True: tensors("train", "valid"), False: tensors("test")}

    class Mnist(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        """Rows of `[1, 28, 28]` with their class numbers."""

        def __init__(self, root: str, train: bool = True, **_: Any) -> None:
            self.x, self.y = parts[train]

        def __len__(self) -> int:
            return len(self.y)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            return self.x[row], self.y[row]

        def download(self) -> None:
            """There is nothing to download."""

    class Transform:
        """Stands for any transform, and is never called."""

        def __init__(self, *_: Any) -> None:
            pass

    module, datasets, transforms = (
        ModuleType(name)
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms")
    )
    module.__spec__ = ModuleSpec("torchvision", None)
    datasets.MNIST = datasets.CIFAR10 = Mnist  # type: ignore[attr-defined]
    for name in ("Compose", "ToTensor", "Normalize"):
        setattr(transforms, name, Transform)
    module.datasets, module.transforms = datasets, transforms  # type: ignore[attr-defined]
    for one in (module, datasets, transforms):
        sys.modules[one.__name__] = one
