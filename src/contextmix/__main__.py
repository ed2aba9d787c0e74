"""The program ``contextmix``, also as ``python -m contextmix``: it loads the command line, and nothing before that."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; who stops it while it is loading gets the status of a stopped program and no traceback."""
    try:
        from contextmix.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
