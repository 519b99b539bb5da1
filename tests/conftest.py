"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before JAX or matplotlib is imported; processes that tests start inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "agg")

# A shell starts what runs in its background with Ctrl-C ignored, and processes hand that on to
# those that they start. Tests that interrupt need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Few examples, because most of ours train something; no deadline, because the first one compiles;
# no complaint about slow ones, because machines are shared.
settings.register_profile(
    "local",
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="module", autouse=True)
def room_for_programs() -> None:
    """Drops the programs of earlier files in time, so that none are dropped within a file.

    A test that counts how often something is compiled would count too much.
    """
    from rlagent_envs import batch

    if batch._memory_maps() > 0.4 * batch._most_memory_maps():
        batch.drop_programs()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets beside the repository; skips where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}")
    return folder
