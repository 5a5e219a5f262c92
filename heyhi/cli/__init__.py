"""Command lines: that of run.py, and those of the `heyhi` command. Only this room prints answers.

    python run.py ...  ─run_py────▶ exit status
    heyhi COMMAND ...  ─commands──▶ looking, init ─▶ exit status
    a key press        ─completion▶ candidates for the last word

complete_config: a second, fast reader of configs for key presses; shells: properties of shells.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.cli.commands import main
    from heyhi.cli.run_py import parse_args_and_maybe_launch

__getattr__ = hand_on(
    __name__,
    commands="main",
    run_py="parse_args_and_maybe_launch",
)
# fmt: on
