"""The `heyhi` command: `python -m heyhi.commands`, which shells' scripts and Makefiles name."""

from heyhi.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
