"""The explorer that is shipped is the one that its source builds, and nothing in the project needs Node to use it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "explorer"
BUNDLE = "views/page/explorer/explorer.js"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None or not (SOURCE / "node_modules").is_dir():
        pytest.skip("needs Node and `npm ci` in explorer/")
    return found


def test_a_build_gives_the_committed_bundles_byte_for_byte(node: str, tmp_path: Path):
    subprocess.run([node, "build.mjs", "--out", str(tmp_path)], cwd=SOURCE, check=True, capture_output=True)
    built = sorted(path for path in tmp_path.rglob("*.js"))
    assert tmp_path / BUNDLE in built
    for path in built:
        committed = ROOT / "src/contextmix" / path.relative_to(tmp_path)
        assert path.read_bytes() == committed.read_bytes(), f"{committed} is stale: run `make explorer`"


def test_types_and_unit_tests_pass(node: str):
    done = subprocess.run(["npm", "run", "--silent", "check"], cwd=SOURCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bundle_can_stand_in_a_page_and_carries_its_licences():
    text = (ROOT / "src/contextmix" / BUNDLE).read_text(encoding="ascii")
    assert not re.search(r"</script|<!--", text, re.IGNORECASE)
    markup = r"\.innerHTML|insertAdjacentHTML|document\.write"
    assert not re.search(rf"\beval\(|new Function\(|\bfetch\(|XMLHttpRequest|{markup}", text)
    for name in json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))["dependencies"]:
        assert f"{name}: Copyright" in text


def test_versions_are_exact_and_name_no_address():
    package = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))
    for version in {**package["dependencies"], **package["devDependencies"]}.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    lock = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
