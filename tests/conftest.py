"""What all tests share."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Before JAX or matplotlib is imported; processes that tests start inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "agg")

# What one test file or process has compiled, the others read. Only for this run: an old cache would
# hide that something cannot be compiled any more.
CACHE = "JAX_COMPILATION_CACHE_DIR"
OWN_CACHE = None if CACHE in os.environ else tempfile.mkdtemp(prefix="rlagent-tests-")
os.environ.setdefault(CACHE, str(OWN_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

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


# Of the slow tests those that take longest, in the order of their time.
LONGEST = ("kill_bench", "kill_training", "readme", "bench", "kill", "learning", "streamed_folders")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first, so that at the end no process waits long for another."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        slow = item.get_closest_marker("slow") is not None
        return LONGEST.index(name) if slow and name in LONGEST else len(LONGEST)

    items.sort(key=place)


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how programs are compiled, before JAX is imported.

    Half of the time of the tests is compilation, and their networks are too small to profit from
    it. Slow tests have programs as users have them, and so those that compare bits are among them.
    """
    if config.option.markexpr == "not slow":
        fast = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")
        os.environ.setdefault("XLA_FLAGS", " ".join(fast))


def pytest_unconfigure() -> None:
    """Removes the cache, in the process that made it."""
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


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


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A task for tests that start the program again and again.

    Bundled ones need scikit-learn, which takes two seconds to load.
    """
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 4))
    file = tmp_path / "small.npz"
    np.savez(file, x=x, y=np.argmax(x @ generator.normal(size=(4, 3)), axis=1))
    return file
