"""Installs PyTorch ahead of everything else, with the Python of the environment it goes to.

`python scripts/torch_first.py PINS CONSTRAINTS`: a PyTorch that is already there stays. Otherwise pip installs what the
variable TORCH says, or else the version in PINS. CONSTRAINTS gets the pins with the PyTorch that is there now, so
that nothing installed later replaces it: on Linux, that may bring gigabytes of CUDA packages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PIN = re.compile(r"^torch==(.*)\n", re.MULTILINE)
NOTICE = """\
On Linux, pip may now download PyTorch with gigabytes of CUDA packages. A machine without a GPU does not need them.
To get PyTorch's CPU build instead, press Ctrl-C, choose it at https://pytorch.org/get-started/locally/ (Linux, Pip,
Python, CPU), and give make what the guide says after "pip install":  make ... TORCH="{torch} ..."
"""


def present() -> str | None:
    """The version of PyTorch in this environment."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def pinned(pins: str) -> str | None:
    """The version of PyTorch that the pins name."""
    found = PIN.search(pins)
    return found and found[1]


def with_torch(pins: str, present: str) -> str:
    """The pins, with the PyTorch that is there."""
    return f"{PIN.sub('', pins)}torch=={present}\n"


def install(pin: str | None, pins: Path) -> None:
    """Install what TORCH says, or else what is pinned, after a word about its size."""
    torch, told = f"torch=={pin}" if pin else "torch", shlex.split(os.environ.get("TORCH", ""))
    if not told and sys.platform == "linux" and shutil.which("nvidia-smi") is None:
        print(NOTICE.format(torch=torch), end="", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    code = subprocess.run([*pip, *(told or ["-c", str(pins), torch])], check=False).returncode
    if code or present() is None:
        raise SystemExit(code or f"pip installed no torch; TORCH was {' '.join(told)!r}")


def main(pins: Path, constraints: Path) -> None:
    """Put PyTorch there unless it is, and write the constraints for the rest."""
    text = pins.read_text(encoding="utf-8")
    pin = pinned(text)
    if present() is None:
        install(pin, pins)
    there = present()
    if pin and there.partition("+")[0] != pin:
        print(f"Keeping torch {there}; {pins.name} names {pin}.", file=sys.stderr)
    constraints.write_text(with_torch(text, there), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
