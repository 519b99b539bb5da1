"""Which rows are trained on, which validate and which test."""

from __future__ import annotations

import warnings

import numpy as np

from rlagent_envs.tasks.targets import numbered_labels

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
}
FOLDER_NAMES = SPLIT_NAMES | {"training": "train", "testing": "test"}  # of a folder for a part
VALID_SHARE = 0.2  # of the rows to divide
TEST_SHARE = 0.2
MOST_VALID_ROWS = 10_000  # when a test part is given: more would only slow evaluation down
GROUP_FOLDS = 5  # one of them validates and one tests: the shares above


def part_of(name: str) -> str | None:
    """The part that a name such as `train`, `val2017` or `Test` tells; None if it tells none."""
    return SPLIT_NAMES.get(name.lower().rstrip("0123456789").rstrip("_-"))


def stratified_order(classes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Row numbers in an order of which any prefix has nearly the class shares of the whole.

    The rows of each class, shuffled, get the fractional ranks (i + 1/2) / count, and all rows are
    ordered by these ranks, ties at random.

    Args:
        classes: `[rows]`, labels of any type that sorts.
        generator: draws the shuffles.

    Returns:
        `[rows]`, each row number once.
    """
    _, numbers = numbered_labels(classes)
    shuffled = generator.permutation(len(numbers))
    by_class = shuffled[np.argsort(numbers[shuffled], kind="stable")]
    counts = np.bincount(numbers)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    ranks = (np.arange(len(numbers)) - first + 0.5) / np.repeat(counts, counts)
    return by_class[np.lexsort((generator.random(len(numbers)), ranks))]


def row_order(target: np.ndarray, *, stratified: bool, seed: int) -> np.ndarray:
    """Row numbers in stratified order, or in random order where the target is no class."""
    generator = np.random.default_rng(seed)
    if stratified:
        return stratified_order(target, generator)
    return generator.permutation(len(target))


def part_sizes(rows: int, *, test_given: bool) -> dict[str, int]:
    """How many rows go to which part.

    Without a test part 60 % train, 20 % validate, 20 % test; with one, a fifth of the rows, at
    most 10,000, validate.

    Raises:
        ValueError: if a part would have no rows.
    """
    valid = round(VALID_SHARE * rows)
    sizes = {"train": 0, "valid": min(valid, MOST_VALID_ROWS) if test_given else valid}
    if not test_given:
        sizes["test"] = round(TEST_SHARE * rows)
    sizes["train"] = rows - sum(sizes.values())
    _refuse_empty_parts(rows, sizes)
    return sizes


def divide(
    target: np.ndarray, *, stratified: bool, test_given: bool, seed: int
) -> dict[str, np.ndarray]:
    """Divides rows into train, valid and, unless one is given, test.

    A class whose rows are too few for every part is in train: its rows in other parts are moved
    there if it would lack them all.

    Args:
        target: `[rows]`, labels, or numbers for regression, or labels `[rows, ...]`.
        stratified: whether each part gets the class shares of the whole.
        test_given: whether a test part exists already, so that none is made here.
        seed: the same seed gives the same division.

    Returns:
        Row numbers of each part, in ascending order, those of valid in `row_order`. The parts
        are disjoint and together are all rows.

    Raises:
        ValueError: if a part would have no rows.
    """
    sizes = part_sizes(len(target), test_given=test_given)
    if stratified:
        _, target = numbered_labels(target)
    order = row_order(target, stratified=stratified, seed=seed)
    pieces = np.split(order, np.cumsum(list(sizes.values()))[:-1])
    parts = dict(zip(sizes, pieces, strict=True))
    if stratified or target.ndim > 1:
        parts = _move_lone_classes(target, parts)
        _refuse_empty_parts(len(target), {name: len(rows) for name, rows in parts.items()})
    valid = np.sort(parts["valid"])
    ordered = valid[row_order(target[valid], stratified=stratified, seed=seed)]
    return {name: np.sort(rows) for name, rows in parts.items()} | {"valid": ordered}


def with_fewer(parts: dict[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """The parts with at most so many rows to validate and to test on; the others train.

    Valid keeps its order, of which any prefix is stratified, and test is thinned out evenly.
    """
    valid, train = parts["valid"][:most], [parts["train"], parts["valid"][most:]]
    fewer = {"valid": valid}
    if "test" in parts:
        test = parts["test"]
        kept = np.zeros(len(test), bool)
        kept[np.linspace(0, len(test) - 1, min(most, len(test))).round().astype(int)] = True
        fewer["test"] = test[kept]
        train.append(test[~kept])
    return parts | fewer | {"train": np.sort(np.concatenate(train))}


def divide_groups(
    target: np.ndarray, groups: np.ndarray, *, stratified: bool, test_given: bool, seed: int
) -> dict[str, np.ndarray]:
    """Divides rows as `divide` does, but that all rows of a group are in one part.

    A fifth of the groups validates, and another fifth tests unless a test part is given. A class
    that train would lack comes into it with all groups that have it.

    Args:
        target: `[rows]`, labels, or numbers for regression.
        groups: `[rows]`, numbers from 0 that say whose rows they are.
        stratified: whether each part gets about the class shares of the whole.
        test_given: whether a test part exists already.
        seed: the same seed gives the same division.

    Raises:
        ValueError: if there are less than 5 groups, or a part would have no rows.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if (there_are := len(np.unique(groups))) < GROUP_FOLDS:
        raise ValueError(
            f"the rows are of {there_are} groups, but to divide them takes at least {GROUP_FOLDS}"
        )
    if stratified:
        _, target = numbered_labels(target)
    by_class = stratified and np.unique(target, return_counts=True)[1].max() >= GROUP_FOLDS
    dealer = StratifiedGroupKFold if by_class else GroupKFold
    folds = dealer(GROUP_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with few rows is taken care of
        dealt = [rows for _, rows in folds.split(target, target, groups)]
    parts = {"valid": dealt[0]} | ({} if test_given else {"test": dealt[1]})
    parts["train"] = np.concatenate(dealt[len(parts) :])
    if stratified:
        parts = _move_lone_groups(target, groups, parts)
    _refuse_empty_parts(len(target), {name: len(rows) for name, rows in parts.items()})
    valid = parts["valid"]
    ordered = valid[row_order(target[valid], stratified=stratified, seed=seed)]
    return {name: np.sort(rows) for name, rows in parts.items()} | {"valid": ordered}


def divide_oldest_first(
    target: np.ndarray, times: np.ndarray, *, stratified: bool, seed: int
) -> dict[str, np.ndarray]:
    """Divides rows by their times: the oldest train, the next validate, and the newest test.

    The parts have the sizes of `part_sizes`, as nearly as may be: all rows of a time are in one.

    Args:
        target: `[rows]`, labels, or numbers for regression.
        times: `[rows]`, of any type that sorts.
        stratified: whether the target are classes: training must have all of them.
        seed: orders the rows of valid.

    Returns:
        Row numbers of each part, in ascending order, those of valid in `row_order`.

    Raises:
        ValueError: if there are less than 3 times, or if training would lack a class.
    """
    _, time, counts = np.unique(times, return_inverse=True, return_counts=True)
    if (there_are := len(counts)) < 3:
        raise ValueError(
            f"the rows are of {there_are} times, but to divide them by time takes at least 3"
        )
    ends, sizes = np.cumsum(counts), part_sizes(len(times), test_given=False)
    # The first time to validate on, and the first to test on: each part has one at least.
    valid = 1 + int(np.abs(ends[:-2] - sizes["train"]).argmin())
    wanted = sizes["train"] + sizes["valid"]
    test = valid + 1 + int(np.abs(ends[valid:-1] - wanted).argmin())
    part = np.searchsorted([valid, test], time, side="right")
    parts = {name: np.flatnonzero(part == n) for n, name in enumerate(("train", "valid", "test"))}
    if stratified:
        labels, target = numbered_labels(target)
        lacking = np.setdiff1d(target, target[parts["train"]])
        if len(lacking):
            raise ValueError(
                f"the oldest {len(parts['train'])} of {len(target)} rows, which train, lack the "
                f"class {labels[lacking[:1]].tolist()[0]!r}"
            )
    own = parts["valid"]
    ordered = own[row_order(target[own], stratified=stratified, seed=seed)]
    return parts | {"valid": ordered}


def _move_lone_groups(
    target: np.ndarray, groups: np.ndarray, parts: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Moves groups that have a class that train lacks into train."""
    outside = np.concatenate([rows for name, rows in parts.items() if name != "train"])
    unknown = outside[~np.isin(target[outside], target[parts["train"]])]
    moved = np.isin(groups, groups[unknown])
    rest = {name: rows[~moved[rows]] for name, rows in parts.items()}
    return rest | {"train": np.concatenate([parts["train"], np.flatnonzero(moved)])}


def _move_lone_classes(target: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Moves the rows of classes that train lacks into train."""
    moved, classes = [parts["train"]], np.unique(target[parts["train"]])
    rest = {}
    for name in parts.keys() - {"train"}:
        rows = target[parts[name]]
        known = np.isin(rows.reshape(len(rows), -1), classes).all(axis=1)
        moved.append(parts[name][~known])
        rest[name] = parts[name][known]
    return {"train": np.concatenate(moved), **{n: rest[n] for n in parts if n != "train"}}


def _refuse_empty_parts(rows: int, sizes: dict[str, int]) -> None:
    """Raises ValueError if a part has no rows."""
    if any(size < 1 for size in sizes.values()):
        raise ValueError(
            f"{rows} {'row is' if rows == 1 else 'rows are'} too few to divide into "
            f"{' and '.join(sizes)}"
        )


def divide_by_time(
    users: np.ndarray, times: np.ndarray, *, test_given: bool
) -> dict[str, np.ndarray]:
    """Divides the rows of each user: the last fifth tests, the fifth before validates.

    So training knows all who are asked about, and nothing of what they did later. Of users with
    one or two rows all are trained on.

    Args:
        users: `[rows]`, of any type that sorts.
        times: `[rows]`, the same; equal ones are in the order of the rows.
        test_given: whether a test part exists already, so that none is made here.

    Returns:
        Row numbers of each part, in ascending order. The parts are disjoint and together are all
        rows.

    Raises:
        ValueError: if a part would have no rows.
    """
    _, user = np.unique(users, return_inverse=True)
    _, time = np.unique(times, return_inverse=True)
    order = np.lexsort((time, user))
    counts = np.bincount(user)
    after = np.repeat(np.cumsum(counts), counts) - np.arange(len(user))  # 1 for a user's last row
    of_user = np.repeat(counts, counts)
    test = np.rint((0.0 if test_given else TEST_SHARE) * of_user)
    valid = test + np.rint(VALID_SHARE * of_user)
    places = {"train": after > valid, "valid": (after > test) & (after <= valid)}
    if not test_given:
        places["test"] = after <= test
    parts = {name: np.sort(order[there]) for name, there in places.items()}
    _refuse_empty_parts(len(user), {name: len(rows) for name, rows in parts.items()})
    return parts
