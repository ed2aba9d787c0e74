"""What every test starts from: no network, quiet threads, and the way to the shared reference material."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
# Read when torch loads. Tensors are tiny here, and threads that wait for each other on busy cores take far longer.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a first call warms torch up. Derandomised: a red run is red again; remove it for an afternoon of hunting.
settings.register_profile("contextmix", deadline=None, derandomize=True)
settings.load_profile("contextmix")

# The longest first, so that no process is left alone with one of them at the end.
LONG = (
    "datasets/running/test_ray.py",
    "datasets/running/test_workers.py",
    "datasets/running/test_kills.py",
    "experiments/test_value_zeroing.py",
    "serve/test_served.py",
    "serve/test_page.py",
    "datasets/running/test_run_scores.py",
    "experiments/test_globenc.py",
    "robustness/test_public_verbs.py",
    "plugins/test_every_metric.py",
    "datasets/running/test_run_resume.py",
    "docs/test_pages.py",
    "cli/test_cli.py",
    "models/test_verbs.py",
)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("CONTEXTMIX_SHARED") or ROOT.parent / "shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with notebooks, whose kernels start slowly, and the files of `LONG`; the rest stays in its order."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("campaign")
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: -1 if item.path.suffix == ".ipynb" else places.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("models/minilm-sst2")`: real models, data and numbers, too large or not ours to commit.

    They lie in $CONTEXTMIX_SHARED, or in `shared` beside the repository. Where neither exists the test is skipped.
    Where the folder exists but not the file, the test fails: moving a file must not silence its tests.
    """

    def find(path: str) -> Path:
        if not SHARED.is_dir():
            pytest.skip(f"needs shared/{path}: set CONTEXTMIX_SHARED to a folder that holds it")
        found = SHARED / path
        assert found.exists(), f"{path} is not in the shared folder"
        return found

    return find


@pytest.fixture(scope="session")
def reference(shared: Callable[[str], Path]) -> Callable[[str], Path]:
    """`reference("maps.npz")`: numbers that the authors' released code gives."""
    return lambda name: shared(f"reference/{name}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. While it is open an event loop runs here: no other one may, so it ends with its file of tests."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
