"""The data sets that scikit-learn brings along.

Their division into train, valid and test never changes: it is made with seed 0, whatever seed the
run has, so that results of different runs are about the same test rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlagent_envs.tasks.arrays import from_arrays
from rlagent_envs.tasks.task import Kind, Task


def load_bundled(name: str) -> Task:
    """Loads breast_cancer, diabetes, digits, iris or wine; ValueError for other names."""
    if name not in LOADERS:
        raise ValueError(f"unknown bundled task {name!r}; there are: {', '.join(sorted(LOADERS))}")
    x, y = LOADERS[name]()
    kind: Kind = "regression" if name == "diabetes" else "classification"
    return from_arrays(x, y, name=name, kind=kind, seed=0)


def _breast_cancer() -> Any:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def _diabetes() -> Any:
    from sklearn.datasets import load_diabetes

    # scikit-learn's own scaling looks at all rows, test rows among them.
    return load_diabetes(return_X_y=True, scaled=False)


def _digits() -> Any:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


def _iris() -> Any:
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def _wine() -> Any:
    from sklearn.datasets import load_wine

    return load_wine(return_X_y=True)


LOADERS: dict[str, Callable[[], Any]] = {
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
    "digits": _digits,
    "iris": _iris,
    "wine": _wine,
}
