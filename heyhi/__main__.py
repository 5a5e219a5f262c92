"""`python -m heyhi`: the `heyhi` command, for an environment whose scripts are not on the PATH."""

from heyhi.cli.commands import main

raise SystemExit(main())
