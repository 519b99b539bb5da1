"""How ratings are predicted: the controller and the cosine at equal budget, and what is simpler.

    python scripts/ratings.py --out ratings.json

The ratings are made: 400 users, 300 items, 20,000 stars of low rank, popular items more often.
Of each prediction the root mean squared error on test rows; of one that knows all but the noise,
too, which nobody can go below.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import rlagent
from rlagent_envs.tasks import from_ratings
from rlagent_envs.tasks.task import Task

USERS, ITEMS, RANK, ROWS, NOISE = 400, 300, 4, 20_000, 0.6
STARS = np.arange(1, 6)
TUNED: dict[str, Any] = {"learning_rate": 1e-2, "weight_decay": 0.3, "settings": {"dropout": 0.2}}
RUNS: dict[str, dict[str, Any]] = {
    "controller": {"method": "controller"},
    "cosine": {"method": "cosine"},
    "cosine, regularized by hand": {"method": "cosine", **TUNED},
}


class Made(NamedTuple):
    """Ratings with what lies behind them."""

    table: pd.DataFrame
    liking: np.ndarray  # [users, items], before noise and rounding


def make(seed: int) -> Made:
    """Ratings of each pair at most once, at random times."""
    generator = np.random.default_rng(seed)
    levels = [0.4 * generator.standard_normal(USERS), 0.5 * generator.standard_normal(ITEMS)]
    factors = [generator.standard_normal((count, RANK)) for count in (USERS, ITEMS)]
    liking = 3.5 + levels[0][:, None] + levels[1] + 0.6 * factors[0] @ factors[1].T / RANK**0.5
    ranks = [1.0 + generator.permutation(count) for count in (USERS, ITEMS)]
    chance = -0.6 * (np.log(ranks[0])[:, None] + np.log(ranks[1]))
    drawn = np.argsort(-chance - generator.gumbel(size=liking.shape), axis=None)[:ROWS]
    user, item = np.unravel_index(generator.permutation(drawn), liking.shape)
    noisy = liking[user, item] + NOISE * generator.standard_normal(ROWS)
    stars = np.clip(np.round(noisy), STARS[0], STARS[-1])
    times = generator.integers(10**7, size=ROWS)
    columns = {"user": user, "item": item, "stars": stars, "timestamp": times}
    return Made(pd.DataFrame(columns), liking)


def simpler(task: Task, made: Made) -> dict[str, float]:
    """The errors of constants, of levels alone, and of all that can be known."""
    assert task.test is not None
    assert task.preprocessing is not None
    in_units = task.preprocessing.decode_target
    train_y, test_y = in_units(task.train.y), in_units(task.test.y)
    told = {"mean": np.full(len(test_y), train_y.mean())}
    for name, places in (("levels of items", [1]), ("levels of users and items", [0, 1])):
        encoder = OneHotEncoder(handle_unknown="ignore")
        fit = make_pipeline(encoder, RidgeCV([1.0, 3.0, 10.0]))
        fit.fit(task.train.x[:, places], train_y)
        told[name] = fit.predict(task.test.x[:, places])
    errors = {name: root_mean_squared_error(test_y, values) for name, values in told.items()}
    liking = made.liking[made.table["user"], made.table["item"]]
    edges = np.array([-np.inf, *(STARS[1:] - 0.5), np.inf])
    shares = np.diff(norm.cdf((edges - liking[:, None]) / NOISE), axis=1)
    return errors | {"noise": root_mean_squared_error(made.table["stars"], shares @ STARS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = []
    for seed in range(args.seeds):
        made = make(seed)
        x, y = made.table.drop(columns="stars"), made.table["stars"]
        errors = simpler(from_ratings(x, y, user="user", item="item"), made)
        for name, options in RUNS.items():
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run"
                result = rlagent.tune(x, y, user="user", item="item", seed=seed, out=out, **options)
            errors[name] = result.summary["test_score"]
        lines.append(errors)
        print(seed, {name: round(error, 3) for name, error in errors.items()}, flush=True)
    args.out.write_text(json.dumps(lines, indent=2))


if __name__ == "__main__":
    main()
