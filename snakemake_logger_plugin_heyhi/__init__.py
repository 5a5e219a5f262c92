"""What Snakemake says, in the words of runs: a progress bar on a terminal, else a line for each that is done;
what failed, and what HeyHi itself tells. All the rest is in Snakemake's own log file.

Snakemake finds this module by its name: `--logger heyhi`. `--verbose` shows everything.
"""

import sys
from logging import WARNING, LogRecord
from typing import TYPE_CHECKING, Any

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from heyhi.texts import shown

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["LogHandler"]

# What the summary of HeyHi says better.
_SAID_ALREADY = (
    "At least one job did not complete successfully.",
    "Exiting because a job execution failed.",
    "MinJobAge ",
    "Restored previous version of",
    "WorkflowError:\nAt least one job did not complete successfully.",
)
_JOB = "run.py --job"
_STOPPING = "Will exit after finishing currently running jobs"


class LogHandler(LogHandlerBase):
    """Shows records of Snakemake's logger on stderr."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Called by Snakemake at the end of its own constructor."""
        asked = self.common_settings
        self.setFormatter(DefaultFormatter(asked.quiet, asked.show_failed_logs))
        self._filter = DefaultFilter(
            asked.quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds
        )
        self._names: dict[int, str] = {}  # of jobs that people think of, by their number
        self._total = self._done = 0
        self._is_stopping = False
        self._bar: Progress | None = None

    def emit(self, record: LogRecord) -> None:
        """Show a record, or not."""
        text = self._text(record)
        if text:
            self._say(text)

    def close(self) -> None:
        """Called at the end of Snakemake."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        super().close()

    def _text(self, record: LogRecord) -> str:
        asked: Any = self.common_settings
        if not self._filter.filter(record) and record.levelno < WARNING:
            return ""
        event = getattr(record, "event", None)
        if asked.verbose:
            return self.format(record)
        if event is LogEvent.RUN_INFO:
            self._count(record.__dict__["stats"])
            return ""
        if event is LogEvent.JOB_INFO:
            return self._of_start(record.__dict__)
        if event is LogEvent.JOB_FINISHED:
            return self._of_end(record.__dict__["job_id"])
        return self._of_others(record)

    def _count(self, stats: dict[str, int]) -> None:
        self._total = sum(n for rule, n in stats.items() if rule != "total" and not _is_internal(rule))
        quiet: Any = self.common_settings.quiet
        is_wanted = sys.stderr.isatty() and not self.common_settings.dryrun and self._total
        if is_wanted and self._bar is None and Quietness.PROGRESS not in (quiet or ()):
            self._bar = _make_bar(self._total)
            self._bar.start()

    def _of_start(self, job: dict[str, Any]) -> str:
        if _is_internal(job["rule_name"]):
            return ""
        told = job["rule_msg"] or job["rule_name"]
        self._names[job["jobid"]] = told.partition(": ")[0]
        return told if self.common_settings.dryrun else ""

    def _of_end(self, jobid: int) -> str:
        if jobid not in self._names:
            return ""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
            return ""
        return f"[{self._done}/{self._total}] {self._names[jobid]}: done"

    def _of_others(self, record: LogRecord) -> str:
        text = record.getMessage() if record.args else str(record.msg)
        if text.startswith(_STOPPING):
            if self._is_stopping:
                return ""
            self._is_stopping = True
            return "no more runs are started; waiting for those that run"
        is_ours = getattr(record, "heyhi", False)
        if record.__dict__.get("rule_name") == "launch" or (
            _JOB in text and text.startswith("RuleException")
        ):
            return ""
        if not is_ours and (record.levelno < WARNING or text.startswith(_SAID_ALREADY)):
            return ""
        return self.format(record)

    def _say(self, text: str) -> None:
        text = shown(text)
        try:
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=sys.stderr, flush=True)
        except OSError:
            pass  # the terminal is gone; the runs are not


def _is_internal(rule: str) -> bool:
    return rule in ("all", "summary") or rule.startswith("freeze_")


def _make_bar(total: int) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("done"), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
    bar.add_task("", total=total)
    return bar
