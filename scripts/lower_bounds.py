"""The oldest versions that pyproject.toml allows, as pins for pip: `>=` becomes `==`. `make oldest` tests with them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
BOUND = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?>=(?P<version>[\w.]+)")


def pins(project: dict[str, Any]) -> Iterator[str]:
    """One pin for each dependency and extra; an extra that names our own extras adds none."""
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        if requirement.startswith(f"{project['name']}["):
            continue
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} needs one lower bound and nothing else: 'name>=version'")
        yield f"{bound['name']}=={bound['version']}"


if __name__ == "__main__":
    print(*pins(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]), sep="\n")
