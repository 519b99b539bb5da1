"""The observation: one table gives each feature a name, a version, a meaning and a range."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.knobs import HOLD, KNOBS, LEVELS
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.settings import HIGH, LEAST, LOW, Settings

# A group can be absent, with its bit at 0 and its features at 0: a controller that is trained with
# groups dropped at random works where there is no validation data or no growth.
GROUPS = ("train", "valid", "update", "architecture")


class Feature(NamedTuple):
    """A row of the table."""

    name: str
    version: int  # raised whenever the meaning changes; a controller asks for a version
    group: str  # of GROUPS, or "always"
    meaning: str
    low: float = -3.0
    high: float = 3.0


class Signals(NamedTuple):
    """What the features are made of; numbers `[]`, float32, unless a comment says otherwise."""

    progress: Any  # share of the budget that is spent
    decisions_left: Any  # slices that the remaining budget affords
    slice_updates: Any  # updates that a slice affords at the present rung
    epochs_done: Any  # passes over the training rows
    epochs_left: Any  # passes that the remaining budget affords
    regression: Any  # 1 for regression, 0 for classification
    train_score: Any  # score of the mean training loss of the last slice
    train_change: Any  # log of that loss over that of the slice before
    train_slope: Any  # log of the loss of the later half of the slice over that of the earlier
    train_trend: Any  # train_score less its slow running mean
    valid_score: Any  # score of the validation loss
    best_score: Any  # score of the best weights so far
    valid_change: Any  # valid_score less that before
    valid_trend: Any  # valid_score less its slow running mean
    valid_gap: Any  # log of validation loss over training loss
    rank: Any  # share of the last eight scores that are better than this one
    since_best: Any  # decisions since the best weights
    telemetry: Any  # [5]: update ratio, gradient cosine, noise scale, gradient norm, non-finite
    gradient_change: Any  # log10 of the gradient norm over that of the slice before
    settings: Any  # [settings], as in `Settings`
    robust_epsilon: Any  # of the attacks that the run is judged under; 0: none
    depth: Any  # hidden layers, or residual blocks
    width: Any  # units of a hidden layer, or channels
    cost: Any  # FLOPs of an update over those of the base rung
    params_per_row: Any  # weights of the network over rows to train on
    diverged: Any  # 1 if the last decision ended in divergence
    divergences: Any  # how many there were
    action: Any  # [knobs], int32: the last action


FEATURES: tuple[Feature, ...] = (
    Feature("progress", 1, "always", "share of the budget spent", 0.0, 1.0),
    Feature("decisions_left", 1, "always", "log(1 + slices left) / log(129)"),
    Feature("slice_updates", 1, "always", "log(1 + updates in a slice) / 5"),
    Feature("epochs_done", 1, "always", "log(1 + passes over the data) / 4"),
    Feature("epochs_left", 1, "always", "log(1 + passes left) / 4"),
    Feature("regression", 1, "always", "1 for regression", 0.0, 1.0),
    Feature("diverged", 1, "always", "the last decision diverged", 0.0, 1.0),
    Feature("divergences", 1, "always", "log(1 + divergences so far)"),
    Feature("train_score", 1, "train", "score of the training loss / 1.5"),
    Feature("train_change", 1, "train", "3 x log training loss now / before"),
    Feature("train_slope", 1, "train", "5 x log training loss late / early in the slice"),
    Feature("train_trend", 1, "train", "3 x training score less its running mean"),
    Feature("valid_score", 1, "valid", "score of the validation loss / 1.5"),
    Feature("best_score", 1, "valid", "score of the best weights / 1.5"),
    Feature("valid_change", 1, "valid", "5 x validation score less that before"),
    Feature("valid_trend", 1, "valid", "3 x validation score less its running mean"),
    Feature("valid_over_best", 1, "valid", "5 x validation score less the best"),
    Feature("valid_gap", 1, "valid", "log validation loss / training loss"),
    Feature("rank", 1, "valid", "share of the last eight scores that were better", 0.0, 1.0),
    Feature("since_best", 1, "valid", "log(1 + decisions since the best) / log(129)"),
    Feature("update_ratio", 1, "update", "log10 of update norm / weight norm, + 3"),
    Feature("gradient_cosine", 1, "update", "cosine of gradient and momentum", -1.0, 1.0),
    Feature("noise_scale", 1, "update", "log10 of gradient variance / squared mean, / 2"),
    Feature("gradient_change", 1, "update", "log10 of gradient norm now / before"),
    Feature("non_finite", 1, "update", "share of updates with non-finite gradients", 0.0, 1.0),
    Feature("learning_rate", 1, "always", "log10, -1 to 1 over 1e-6 to 1"),
    Feature("weight_decay", 1, "always", "log10, -1 to 1 over its range", -1.0, 1.0),
    Feature("dropout", 1, "always", "-1 to 1 over its range", -1.0, 1.0),
    Feature("label_smoothing", 1, "always", "-1 to 1 over its range", -1.0, 1.0),
    Feature("momentum", 1, "always", "log10 of 1 - momentum, -1 to 1 over its range", -1.0, 1.0),
    *(
        Feature(name, 1, "always", "-1 to 1 over its range", -1.0, 1.0)
        for name in ("focal_gamma", "class_balance", "quantile", "clip_quantile")
    ),
    *(
        Feature(name, 1, "always", "-1: off; log, to 1 at its highest", -1.0, 1.0)
        for name in ("l2", "l1", "adversarial_epsilon")
    ),
    Feature("huber_delta", 1, "always", "log, -1 to 1 over its range", -1.0, 1.0),
    Feature("average_decay", 1, "always", "log of 1 - decay, -1: off", -1.0, 1.0),
    *(
        Feature(name, 1, "always", "-1 to 1 over its range", -1.0, 1.0)
        for name in (
            "augmentation",
            "mixup",
            "cutmix",
            "adversarial_share",
            "adversarial_steps",
            "adversarial_step",
            "trades",
        )
    ),
    Feature("stochastic_depth", 1, "always", "-1 to 1 over its range", -1.0, 1.0),
    *(
        Feature(f"is_{name}", 1, "always", "1 for this activation", 0.0, 1.0)
        for name in ACTIVATIONS
    ),
    Feature(
        "robust_epsilon", 1, "always", "judged under attack; as adversarial_epsilon", -1.0, 1.0
    ),
    Feature("depth", 1, "architecture", "log2 of hidden layers / 2"),
    Feature("width", 1, "architecture", "log2 of width / 64, / 2"),
    Feature("cost", 1, "architecture", "log of an update's cost over the base rung's / 3"),
    Feature("params_per_row", 1, "architecture", "log10 of weights / training rows, / 3"),
    *(
        Feature(f"last_{name}", 1, "always", "the last level, hold is 0", -1.0, 1.0)
        for name in KNOBS
    ),
    *(
        Feature(f"has_{group}", 1, "always", "1 if the group is there", 0.0, 1.0)
        for group in GROUPS
    ),
)

NAMES = tuple(feature.name for feature in FEATURES)
LOWEST = np.array([feature.low for feature in FEATURES], np.float32)
HIGHEST = np.array([feature.high for feature in FEATURES], np.float32)

# For each feature the number of its group, the last one standing for "always".
_GROUP = np.array(
    [GROUPS.index(f.group) if f.group in GROUPS else len(GROUPS) for f in FEATURES], np.int32
)
_LOG_HORIZON = float(np.log(129.0))


def observe(signals: Signals, available: jax.Array) -> jax.Array:
    """The observation `[features]`, float32: finite and inside its ranges, whatever the signals.

    Args:
        signals: of one run.
        available: for each group 1, or 0 if it is absent, `[groups]`, float32.
    """
    s = signals
    values: dict[str, Any] = {
        "progress": s.progress,
        "decisions_left": jnp.log1p(s.decisions_left) / _LOG_HORIZON,
        "slice_updates": jnp.log1p(s.slice_updates) / 5.0,
        "epochs_done": jnp.log1p(s.epochs_done) / 4.0,
        "epochs_left": jnp.log1p(s.epochs_left) / 4.0,
        "regression": s.regression,
        "diverged": s.diverged,
        "divergences": jnp.log1p(s.divergences),
        "train_score": s.train_score / 1.5,
        "train_change": 3.0 * s.train_change,
        "train_slope": 5.0 * s.train_slope,
        "train_trend": 3.0 * s.train_trend,
        "valid_score": s.valid_score / 1.5,
        "best_score": s.best_score / 1.5,
        "valid_change": 5.0 * s.valid_change,
        "valid_trend": 3.0 * s.valid_trend,
        "valid_over_best": 5.0 * (s.valid_score - s.best_score),
        "valid_gap": s.valid_gap,
        "rank": s.rank,
        "since_best": jnp.log1p(s.since_best) / _LOG_HORIZON,
        "update_ratio": s.telemetry[0] + 3.0,
        "gradient_cosine": s.telemetry[1],
        "noise_scale": s.telemetry[2] / 2.0,
        "gradient_change": s.gradient_change,
        "non_finite": s.telemetry[4],
        "depth": jnp.log2(s.depth) / 2.0,
        "width": jnp.log2(s.width / 64.0) / 2.0,
        "cost": jnp.log(s.cost) / 3.0,
        "params_per_row": jnp.log10(s.params_per_row) / 3.0,
    }
    values |= _settings_features(Settings.unpack(s.settings))
    values["robust_epsilon"] = _log_or_off(s.robust_epsilon, "adversarial_epsilon")
    # Above hold and below hold are scaled apart, so that the ends are at -1 and 1.
    above = np.maximum(np.array(LEVELS) - 1 - HOLD, 1)
    below = np.maximum(HOLD, 1)
    moved = (s.action - HOLD).astype(jnp.float32)
    moved = moved / jnp.where(moved > 0, above, below).astype(jnp.float32)
    values |= {f"last_{name}": moved[number] for number, name in enumerate(KNOBS)}
    values |= {f"has_{group}": available[number] for number, group in enumerate(GROUPS)}
    vector = jnp.stack([jnp.asarray(values[name], jnp.float32) for name in NAMES])
    vector = jnp.clip(jnp.nan_to_num(vector, nan=0.0), LOWEST, HIGHEST)
    return vector * jnp.append(available, 1.0)[_GROUP]


_LINEAR = (
    "dropout",
    "label_smoothing",
    "focal_gamma",
    "class_balance",
    "quantile",
    "clip_quantile",
    "augmentation",
    "mixup",
    "cutmix",
    "adversarial_share",
    "adversarial_steps",
    "adversarial_step",
    "trades",
    "stochastic_depth",
)
_OR_OFF = ("l2", "l1", "adversarial_epsilon")


def _settings_features(settings: Settings) -> dict[str, Any]:
    activation = jnp.round(settings.activation)
    features = {name: _range(settings, name) for name in _LINEAR}
    features |= {name: _log_or_off(getattr(settings, name), name) for name in _OR_OFF}
    features |= {
        f"is_{name}": (activation == number).astype(jnp.float32)
        for number, name in enumerate(ACTIVATIONS)
    }
    return features | {
        "learning_rate": (jnp.log10(settings.learning_rate) + 3.0) / 3.0,
        "weight_decay": _log_range(settings.weight_decay, LOW.weight_decay, HIGH.weight_decay),
        "momentum": _log_range(1.0 - settings.momentum, 1.0 - HIGH.momentum, 1.0 - LOW.momentum),
        "huber_delta": _log_range(settings.huber_delta, LOW.huber_delta, HIGH.huber_delta),
        "average_decay": -_log_range(
            1.0 - settings.average_decay, 1.0 - HIGH.average_decay, 1.0 - LOW.average_decay
        ),
    }


def _range(settings: Settings, name: str) -> jax.Array:
    low, high = getattr(LOW, name), getattr(HIGH, name)
    return 2.0 * (getattr(settings, name) - low) / (high - low) - 1.0


def _log_or_off(value: jax.Array, name: str) -> jax.Array:
    least = getattr(LEAST, name)
    over_range = _log_range(jnp.maximum(value, least), 0.25 * least, getattr(HIGH, name))
    return jnp.where(value > 0, over_range, -1.0)


def _log_range(x: jax.Array, low: float, high: float) -> jax.Array:
    return 2.0 * (jnp.log(x) - np.log(low)) / (np.log(high) - np.log(low)) - 1.0
