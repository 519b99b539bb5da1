"""Makes a set of handwritten digits on canvases, with their masks or their boxes.

    python -m scripts.canvases MNIST.npz canvases.npz [--boxes]

MNIST.npz has `x_train, y_train, x_test, y_test`. On the canvases to test on are digits to test on.
"""

import argparse
from pathlib import Path

import numpy as np

from rlagent_envs.tasks.canvases import compose_both
from rlagent_envs.tasks.npz import read_npz_parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="MNIST.npz")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--rows", type=int, nargs=2, default=(4000, 1000), help="train and test")
    parser.add_argument("--side", type=int, default=48, help="of a canvas, in pixels")
    parser.add_argument("--most", type=int, default=4, help="digits on a canvas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boxes", action="store_true", help="boxes in the place of masks")
    args = parser.parse_args()
    parts = read_npz_parts(args.source)
    arrays: dict[str, np.ndarray] = {}
    for part, rows, seed in zip(("train", "test"), args.rows, (0, 1), strict=True):
        made, boxes = compose_both(
            *parts[part],
            rows=rows,
            side=args.side,
            most=args.most,
            seed=2 * args.seed + seed,
        )
        arrays |= {f"x_{part}": made.images, f"y_{part}": boxes if args.boxes else made.masks}
    np.savez_compressed(args.out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
