"""Snakemake, the process that carries a batch out, as `heyhi start` calls it.

Called as `python -m heyhi.workflow.snakemake_main WORDS`.

It is `python -m snakemake WORDS`, but that Ctrl-C ends it with a line from its first moment on: a second
passes until Snakemake itself looks.
"""

import signal

import heyhi.interrupts  # noqa: F401  (what it imports may be interrupted)

__all__: list[str] = []

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see drivers.become
    from snakemake.cli import main

    main()
