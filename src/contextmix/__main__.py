"""``python -m contextmix``: the command line, for whoever has no script on the path."""

from contextmix.cli import main

if __name__ == "__main__":
    main()
