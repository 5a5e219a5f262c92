"""`python -m heyhi`: the `heyhi` command, for an environment whose scripts are not on the PATH."""

from heyhi.cli import main

raise SystemExit(main())
