"""What the repository holds, and what it must not hold."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEMO_WEIGHTS = re.compile(r"src/contextmix/demo/.+\.safetensors")
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.~/:-])/(?:work|root|home)/|file:/{3}"),
    "the address of an index": re.compile(
        r"https?://[^\s'\"]*(?:pypi\.org/simple|pythonhosted|registry\.npm|download\.pytorch|/simple/)", re.IGNORECASE
    ),
    "the address of a built package": re.compile(r"https?://[^\s'\"]+\.(?:whl|tgz|tar\.gz|crate)\b", re.IGNORECASE),
}


def complaints(text: str) -> list[str]:
    return [f"{what}: {match[0]}" for what, pattern in FORBIDDEN.items() if (match := pattern.search(text))]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """All that is committed, and all that a `git add .` would commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    safe = f"safe.directory={ROOT}"  # the checkout may belong to another user
    listing = ["git", "-c", safe, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_text_names_a_machine_or_an_index(files: list[Path]):
    assert ROOT / "pyproject.toml" in files
    found = []
    for path in files:
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found += [f"{path.relative_to(ROOT)}: {line}" for line in complaints(content.decode("utf-8"))]
    assert found == []


def test_only_the_demo_weights_are_large(files: list[Path]):
    large = [str(path.relative_to(ROOT)) for path in files if path.stat().st_size > 1_000_000]
    assert [name for name in large if not DEMO_WEIGHTS.fullmatch(name)] == []


def test_one_version_everywhere():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == package["version"]
    assert citation["license"] == package["license"]
    source = (ROOT / "src/contextmix/__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{package["version"]}"' in source


INDEX = ".".join(("pypi", "org"))
"""Put into texts when a test runs: this file holds no address that it would complain of."""


@pytest.mark.parametrize(
    "text",
    [
        'open("{0}work/a.txt")',
        "see {0}root/.cache",
        "cd {0}home/someone/code",
        "file:{0}{0}{0}opt/wheels",
        "--index-url https:{0}{0}{1}{0}simple",
        "https:{0}{0}mirror.example{0}simple{0}torch",
        '"resolved": "https:{0}{0}registry.npmjs.org/d3/-/d3-7.0.0"',
        "torch @ https:{0}{0}example.org/torch-2.13.0-py3-none-any.whl",
        "https:{0}{0}example.org/d3-7.0.0.tgz",
    ],
)
def test_what_must_not_be_there_is_seen(text: str):
    assert complaints(text.format("/", INDEX))


@pytest.mark.parametrize(
    "text",
    [
        "..{0}work{0}a",
        "~{0}work{0}a",
        "https:{0}{0}example.org{0}home{0}page",
        "GET {0}api{0}work",
        "https:{0}{0}{1}{0}project{0}x",
        "a.tgz",
    ],
)
def test_what_may_be_there_passes(text: str):
    assert complaints(text.format("/", INDEX)) == []
