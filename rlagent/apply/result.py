"""What a run gave: a model, its history and a summary, in memory or from a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply import generation, run_folder, scores
from rlagent.apply.model import Predictor
from rlagent.apply.model_file import load_model
from rlagent_envs.tasks.box_target import BoxTarget, read_boxes
from rlagent_envs.tasks.task import Split

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Result:
    """What was tuned. The arrays and lists must not be changed."""

    model: Predictor  # a network, or an ensemble of several
    history: list[dict[str, Any]]  # a line for each decision, as in history.jsonl
    summary: dict[str, Any]  # as in summary.json
    run_dir: Path

    def predict(self, x: Any) -> np.ndarray:
        """A label or a value, in the units of the target, for each row `[rows, *targets]`.

        Of images with boxes an array `[objects, 6]` for each: class, x0, y0, x1, y1 and confidence.

        Args:
            x: rows of the form of training: a DataFrame with its columns, or an array.

        Raises:
            ValueError: if a column is missing, or the shape or a value cannot be used.
        """
        return self.model.labels(self._values(x))

    def predict_proba(self, x: Any) -> np.ndarray:
        """The probability of each class `[rows, *targets, classes]`, ordered as `model.classes`.

        Raises:
            ValueError: for regression, and as `predict`.
        """
        if self.model.kind == "regression":
            raise ValueError("a regression has no classes, so it has no probabilities")
        return self._values(x)

    def generate(
        self,
        prompt: str,
        characters: int = generation.CHARACTERS,
        temperature: float = generation.TEMPERATURE,
        seed: int = 0,
    ) -> str:
        """What follows a text, by a model of a text file.

        Args:
            prompt: at least one character.
            characters: how many follow.
            temperature: 1 draws from the probabilities as they are, less prefers what is likely; 0
                always takes what is most likely.
            seed: the same seed continues in the same way.

        Raises:
            ValueError: if the model is of other data, or a number makes no sense.
        """
        return generation.generate(self.model, prompt, characters, temperature, seed)

    def score(self, x: Any, y: Any, name: str | None = None) -> float:
        """The score of the predictions for rows of which the targets are known.

        Args:
            x: as for `predict`.
            y: labels or values, `[rows, *targets]`; for text the texts that are to follow.
            name: of a score, for instance accuracy or r2; that of the run where None.

        Raises:
            ValueError: if there is no such score, or a label that training did not have.
        """
        kind = self.model.kind
        chosen = self.score_named(name)
        rows, targets = self.model.transform(x), self._targets(y)
        if len(rows) != len(targets):
            raise ValueError(f"x has {len(rows)} rows but y has {len(targets)}")
        values = self.model.values(self.model.raw(rows))
        rows, targets, values = scores.judged_rows(chosen, self.model, rows, targets, values)
        stored, boxes = self.model.preprocessing, self._boxes(y)
        return scores.compute(chosen, kind, targets, values, rows, stored, boxes)

    def robust_score(
        self, x: Any, y: Any, epsilon: float, norm: str = "linf", name: str | None = None
    ) -> float:
        """The score when each row is moved against the network: PGD-20 with 2 restarts.

        Args:
            x: as for `predict`.
            y: labels or values, `[rows]`.
            epsilon: radius of the ball in which a row is moved, in standard deviations of inputs.
            norm: linf or l2.
            name: of a score; that of the run where None.

        Raises:
            ValueError: as `score`, and if the ball makes no sense or no input can be moved.
        """
        from rlagent.apply.robustness import worst_case

        kind = self.model.kind
        chosen = self.score_named(name)
        rows, targets = self.model.transform(x), self._encoded(y)
        if len(rows) != len(targets):
            raise ValueError(f"x has {len(rows)} rows but y has {len(targets)}")
        worst = worst_case(self.model, rows, targets, epsilon, norm)
        known = self.model.targets(Split(rows, targets))
        values = self.model.values(worst.raw)
        stored, boxes = self.model.preprocessing, self._boxes(y)
        return scores.compute(chosen, kind, np.asarray(known), values, rows, stored, boxes)

    def history_frame(self) -> pd.DataFrame:
        """The history as a table, `settings.dropout` for the dropout of a decision."""
        import pandas as pd

        return pd.json_normalize(self.history)

    def plot(self) -> Figure:
        """Losses, settings and architecture over the budget, as in curves.png."""
        from rlagent.apply.curves import draw

        return draw(self.history, self.summary)

    def score_named(self, name: str | None) -> str:
        """A score by its name, that of the run where None; ValueError if there is none such."""
        asked = name or self.summary["score_name"]
        model = self.model
        return scores.check_score(asked, model.kind, model.form, scores.score_shape(model))

    def _values(self, x: Any) -> np.ndarray:
        return self.model.values(self.model.raw(self.model.transform(x)))

    def _boxes(self, y: Any) -> np.ndarray | None:
        """The boxes as they are given, where targets are boxes; targets have them in steps."""
        stored = self.model.preprocessing
        there = stored is not None and isinstance(stored.target, BoxTarget)
        return read_boxes(y) if there else None

    def _encoded(self, y: Any) -> np.ndarray:
        """Class numbers, or standardised values."""
        stored = self.model.preprocessing
        return np.asarray(y) if stored is None else stored.encode_target(y)

    def _targets(self, y: Any) -> np.ndarray:
        """Class numbers, or values in their units."""
        stored = self.model.preprocessing
        if stored is None or self.model.kind == "regression":
            return np.asarray(y)
        return stored.encode_target(y)


def load_run(folder: str | Path) -> Result:
    """The result of a run, from its folder.

    Raises:
        ValueError: in one sentence, if the folder holds no run, one that has no model yet, or a
            damaged one.
    """
    folder = Path(folder)
    run_folder.read_run(folder)
    summary = run_folder.read_summary(folder)
    if summary is None or not (folder / run_folder.MODEL).is_file():
        raise ValueError(
            f"the run {folder} has no model yet; go on with it by: rlagent tune --resume {folder}"
        )
    model = load_model(folder / run_folder.MODEL)
    return Result(model, run_folder.read_history(folder), summary, folder)
