"""The bridge to Snakemake: what the `.smk` files call.

HeyHi decides, Snakemake executes: the agenda of a batch is made once, in Snakemake's main process, and only
what it says is left to do is in the workflow. Rules ask this module, by the folder of a run, for their
inputs, commands and reasons.

    load ─▶ Workflow ─▶ rules: targets, inputs, commands ─▶ begin: orders ─▶ jobs ─▶ end: what is left
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from heyhi.batch import (
    Agenda,
    Item,
    Kind,
    drivers,
    leave_readonly_folder,
    listing,
    make_agenda,
    of_batch,
    read_batch,
    read_states,
    store,
)
from heyhi.errors import HeyhiError, RefusedError, UsageError, did_you_mean
from heyhi.files import write_out
from heyhi.launch import Submission, gpus, resources_from_defaults, schedulers, with_code_state
from heyhi.log import ask, say_problem
from heyhi.project import Project, find_project
from heyhi.runs import (
    Mode,
    Order,
    Run,
    RunState,
    Secrets,
    make_order,
    make_plan,
    places,
    to_mode,
    write_orders,
)
from heyhi.texts import joined, quoted, shown, some_lines
from heyhi.workflow.aliases import Aliases
from heyhi.workflow.child import Child, tell_children

__all__ = ["RULES", "Workflow", "load"]

#: The rules of runs, which a Snakefile includes.
RULES = Path(__file__).with_name("launch.smk")

_FREEZE_CHUNK = 100  # runs that one job freezes; a job each costs Snakemake more than the freezing
_MOST_LINES = 20  # of what is left at the end
_DEFAULT_RATE = (100, 1)  # Snakemake's --max-jobs-per-timespan: jobs, seconds
_KNOWN = ("batch", "mode", "force", "summary")
_LOCAL_RUNS = "local_runs"
_GPUS = "local_gpus"  # Snakemake's resource; `gpus` has a meaning for cluster executors


def load(config: Mapping[str, Any], snakemake: Any, default_batch: str) -> "Workflow | Child":
    """The workflow of this call of Snakemake, from its `--config`. Leaves with a clear line and its status.

    `snakemake` is the `workflow` object of the Snakefile.
    """
    try:
        unknown = [key for key in config if key not in _KNOWN]
        if unknown:
            raise UsageError(f"--config {unknown[0]}=...: unknown{did_you_mean(unknown[0], list(_KNOWN))}")
        mode = to_mode(str(config.get("mode", Mode.GENTLE_START.value)))
        project = find_project(str(Path(snakemake.main_snakefile).parent / "run.py"))
        if not snakemake.is_main_process:
            return Child(project)
        batch = read_batch(str(config.get("batch", project.root / default_batch)), project)
        summary_file = os.path.abspath(str(config["summary"])) if "summary" in config else None
        leave_readonly_folder(project)
        not_kept = "" if snakemake.dryrun or mode is Mode.DRYRUN else store(batch)
        workflow = Workflow(
            make_agenda(batch, mode, read_states(batch)),
            snakemake,
            bool(config.get("force")),
            summary_file,
        )
        snakemake.register_resource(_LOCAL_RUNS, snakemake.resource_settings.local_cores or 1)
        any_gpus = any(map(_gpus_of, workflow.agenda.items))  # to look for them takes a while
        snakemake.register_resource(_GPUS, len(gpus.names()) if any_gpus else 0)
    except (HeyhiError, OSError, KeyboardInterrupt) as problem:
        _leave(problem)
    if not_kept:
        _tell(f"note: {not_kept}")
    workflow.introduce()
    return workflow


def _leave(problem: BaseException) -> NoReturn:
    # Snakemake would wrap an exception in its own words, and end with status 1.
    os._exit(say_problem(problem))


def _how_many_are_done(total: int, left: int) -> str:
    if left:
        return f"{total - left} of {total} {'run is' if total == 1 else 'runs are'} done"
    return "the run is done" if total == 1 else f"all {total} runs are done"


def _tell(text: str) -> None:
    """Say a line to the user, by Snakemake's logger; ours shows what is marked so."""
    from snakemake.logging import logger

    logger.info(shown(text), extra={"heyhi": True})


def _write(what: str, path: Path, make: Callable[[], str]) -> None:
    """Write what came of the batch so far, and say where. That it cannot be is no failure of the batch."""
    try:
        text = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_out(path, text)
        _tell(f"{what}: {path}")
    except UsageError as problem:
        _tell(f"{what}: {problem}")
    except OSError as problem:
        _tell(f"{what}: {path} cannot be written: {problem.strerror}")


class Workflow:
    """An agenda as rules see it: by run folders, as Snakemake may name them (see `aliases`)."""

    def __init__(self, agenda: Agenda, snakemake: Any, force: bool, summary_file: str | None) -> None:
        self.agenda = agenda
        own = drivers.file_about(self.project, self.batch_name, *drivers.SUMMARY)
        self.summary_file = Path(summary_file) if summary_file else own
        self.was_interrupted = False
        self.was_told_to_stop = False
        self._snakemake = snakemake
        self._force = force
        self._aliases = Aliases()
        self._items = {self._aliases.of(item.run.folder): item for item in agenda.items}
        # What jobs will read is written by `begin`: a dry run writes nothing.
        self._driver = (
            drivers.orders_place(self.project) / f"{time.strftime('%Y-%m-%dT%H%M%S')}-{os.getpid()}"
        )
        self._orders = self._driver.with_suffix(".jsonl")
        self._launched: list[Item] = []
        self._is_asked_for_summary = False
        self._is_asked_for_page = False
        self._orders_by_number: list[Order] = []

    @property
    def project(self) -> Project:
        """The project."""
        return self.agenda.batch.project

    @property
    def batch_name(self) -> str:
        """The name of the batch: the path of its script."""
        return self.agenda.batch.name

    def introduce(self) -> None:
        """Say what there is to do: the counts or, for mode=dryrun, all of it."""
        show = listing.lines if self.agenda.mode is Mode.DRYRUN else listing.summary
        _tell("\n".join(show(self.agenda)))

    # ---- What there is to do --------------------------------------------------------------------

    @property
    def _forces_all(self) -> bool:
        """True if Snakemake itself is forced to rerun all: `--forceall`, `--forcerun launch`.

        Known once it evaluates input functions.
        """
        forced_rules = {rule.name for rule in self._snakemake.dag.forcerules}
        return bool(self._snakemake.dag_settings.forceall) or "launch" in forced_rules

    def _is_forced(self, item: Item) -> bool:
        """True if a run must start again in every status: by its mode, or by Snakemake's forcing."""
        mode = item.entry.invocation.chosen_mode or self.agenda.mode
        if mode is Mode.DRYRUN:
            return False
        by_file = self._result(item.run.folder) in self._snakemake.dag.forcefiles
        return mode is Mode.RESTART or self._forces_all or by_file

    @cached_property
    def _todo(self) -> dict[str, Item]:
        """All that may be done in this call: what is pending, or everything if that is forced."""
        if self.agenda.mode is Mode.DRYRUN:
            return {}
        forced = {folder: item for folder, item in self._items.items() if self._is_forced(item)}
        # What exists has to be forced: Snakemake's own way to say it, which is an internal one.
        self._snakemake.dag.forcefiles.update(f"{folder}/result.json" for folder in forced)
        return {folder: item for folder, item in self._items.items() if item.is_pending or folder in forced}

    def targets(self, _: Any = None) -> list[str]:
        """The results of all that is left to do."""
        return [f"{folder}/result.json" for folder in self._todo]

    def results(self, task: str) -> list[str]:
        """The results of all runs of a task, for rules of the user's."""
        items = self._items.items()
        return [f"{folder}/result.json" for folder, it in items if it.entry.draft.composition.task == task]

    def _result(self, folder: Path) -> str:
        """The result of a run, as rules name it."""
        return f"{self._aliases.of(folder)}/result.json"

    @property
    def _page(self) -> Path:
        """The path of the batch's report."""
        return drivers.file_about(self.project, self.batch_name, *drivers.PAGE)

    @property
    def page(self) -> str:
        """The report of the batch, as rules name it."""
        return f"{self._aliases.of(self._page.parent)}/{self._page.name}"

    def page_inputs(self, wildcards: Any) -> list[str]:
        """The inputs of the report. Snakemake always remakes it, because a run that died makes no file."""
        self._snakemake.dag.forcefiles.add(self.page)
        return self.targets(wildcards)

    def report_items(self, _: Any) -> list[str]:
        """Further inputs of rule `all` for `snakemake --report`: the page, if it exists."""
        is_asked = any(word.partition("=")[0] == "--report" for word in sys.argv)
        return [self.page] if is_asked and self._page.exists() else []

    @cached_property
    def freeze_chunks(self) -> list[list[Item]]:
        """The runs whose configs are to be frozen, in parts."""
        fresh = [
            item for item in self.agenda.pending if item.kind is Kind.START and not item.run.config.exists()
        ]
        return [fresh[start : start + _FREEZE_CHUNK] for start in range(0, len(fresh), _FREEZE_CHUNK)]

    def freeze_outputs(self, chunk: int) -> list[str]:
        """The frozen configs that a freezing job makes."""
        return [self._config(item) for item in self.freeze_chunks[chunk]]

    def _config(self, item: Item) -> str:
        return f"{self._aliases.of(item.run.folder)}/{item.run.config.name}"

    def freeze_command(self, chunk: int) -> str:
        """The command that makes the outputs."""
        items = self.freeze_chunks[chunk]
        return self._command(items[0], "--freeze", [str(self._number(item)) for item in items])

    def launch_inputs(self, wildcards: Any) -> list[str]:
        """The frozen config of a run, and the results that it needs; nothing if the run is done."""
        item = self._items.get(wildcards.run)
        if item is None or wildcards.run not in self._todo:
            return []
        needs = self.agenda.batch.needs[item.run.folder] if self._forces_all else item.needs
        config = [self._config(item)] if item.kind is Kind.START else []
        return [*config, *map(self._result, needs)]

    def launch_command(self, wildcards: Any) -> str:
        """The shell command that carries a run out."""
        return self._launch_command(self._item(wildcards))

    def _launch_command(self, item: Item) -> str:
        mode = item.entry.invocation.chosen_mode or self.agenda.mode
        mode = Mode.RESTART if self._is_forced(item) else mode
        return self._command(item, "--job", [str(self._number(item)), mode.value])

    def job_of(self, wildcards: Any) -> tuple[Run, str, dict[str, str]]:
        """A run, its shell command, and its variables that are in no file, as `Jobs.start` takes them."""
        item = self._item(wildcards)
        return item.run, self._launch_command(item), self._secrets_of(item)

    def is_for_slurm(self, wildcards: Any) -> bool:
        """True if HeyHi submits a run to Slurm: the run must start, and its launcher is not `local`."""
        item = self._item(wildcards)
        is_started = item.kind is Kind.START or self._is_forced(item)
        return is_started and not self.wants_local(wildcards)

    def wants_local(self, wildcards: Any) -> bool:
        """True if a run's launcher says `local`."""
        return schedulers.wants_local(self._item(wildcards).entry.draft.composition.config)

    def submission_of(
        self, wildcards: Any, resources: Mapping[str, Any], state: RunState | None = None
    ) -> Submission:
        """The submission to Slurm: the run's order, its plan, and its resources.

        `resources` are Snakemake's, for a run whose config has no launcher. `state` is what an adopted run
        has turned out to be.
        """
        item = self._item(wildcards)
        plan = make_plan(item.plan.state, Mode.RESTART) if self._is_forced(item) else item.plan
        plan = make_plan(state, Mode.GENTLE_START) if state else plan
        order = self._orders_by_number[self._number(item)]
        label = Path(self.agenda.batch.name).stem or "batch"
        needs = schedulers.needs_of(item.entry.draft.composition.config) or resources_from_defaults(resources)
        return Submission(order, plan, needs, label, self._secrets_of(item))

    def lives_elsewhere(self, wildcards: Any) -> bool:
        """True if the driver waits for a run and does not start it."""
        item = self._item(wildcards)
        return item.kind is Kind.ADOPT and not self._is_forced(item)

    def why_left(self, wildcards: Any) -> str:
        """The reason why HeyHi leaves a run as it is, in a line; empty if it does not."""
        item = self._item(wildcards)
        is_left = item.kind is Kind.LEAVE and not self._is_forced(item)
        return f"{item.run.id}: {item.reason} ({item.run.folder})" if is_left else ""

    def threads(self, wildcards: Any) -> int:
        """The cores that a run takes here; none if it lives elsewhere, or is left."""
        return 0 if self.lives_elsewhere(wildcards) or self.why_left(wildcards) else 1

    def local_runs(self, wildcards: Any) -> int:
        """The number of local slots of a run that stays on this machine while others go to Slurm."""
        return 0 if self._snakemake.local_exec or self.is_for_slurm(wildcards) else self.threads(wildcards)

    def gpus(self, wildcards: Any) -> int:
        """The GPUs of this machine that a run takes."""
        takes_any = self._snakemake.local_exec and self.threads(wildcards)
        return self._gpus_taken(self._item(wildcards)) if takes_any else 0

    def _gpus_taken(self, item: Item) -> int:
        """The GPUs that a job of a run takes: none, if it does no more than move a result in."""
        return 0 if item.kind is Kind.MOVE_IN and not self._is_forced(item) else _gpus_of(item)

    def reason(self, wildcards: Any) -> str:
        """The reason why a run is in the workflow."""
        item = self._item(wildcards)
        is_anew = self._is_forced(item) and item.kind is not Kind.START
        return "forced: wipe, start" if is_anew else shown(item.reason)

    def name(self, wildcards: Any) -> str:
        """The id of a run."""
        return shown(self._item(wildcards).run.id)

    def _item(self, wildcards: Any) -> Item:
        if wildcards.run not in self._items:
            _leave(UsageError(f"{wildcards.run}: no run of {self.agenda.batch.name}"))
        return self._items[wildcards.run]

    # ---- Arguments of jobs ----------------------------------------------------------------------

    @cached_property
    def _secrets(self) -> Secrets:
        return Secrets.of(self.project)

    def _secrets_of(self, item: Item) -> dict[str, str]:
        return self._secrets.values(item.entry.environment, self._known_secrets)

    @cached_property
    def _known_secrets(self) -> set[str]:
        """The secrets of this process and of each run: a variable may hold one of which the name has gone."""
        each = {id(item.entry.environment): item.entry.environment for item in self._todo.values()}
        return {value for one in (os.environ, *each.values()) for value in self._secrets.values(one).values()}

    def _order(self, item: Item) -> Order:
        environment = self._secrets.kept(item.entry.environment, self._known_secrets)
        order = make_order(item.entry.draft)
        return order._replace(environment=environment, gpus=self._gpus_taken(item))

    def _share_secrets(self) -> None:
        """Have in this process's own environment what the script gives to all runs alike.

        Snakemake's own executors hand nothing else on; under them a run that needs another value is refused.
        """
        each = [self._secrets_of(item).items() for item in self._todo.values()]
        if each:
            os.environ.update(set(each[0]).intersection(*each[1:]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {folder: number for number, folder in enumerate(self._todo)}

    def _number(self, item: Item) -> int:
        """The number of this run's order."""
        return self._numbers.get(self._aliases.of(item.run.folder), -1)

    @cached_property
    def _copies(self) -> dict[Path | None, Path]:
        """The folders of snapshots (None: no snapshot) -> the link to the new one."""
        places = dict.fromkeys(item.entry.draft.snapshot_place for item in self.agenda.items)
        return {place: self._driver.with_suffix(f".{number}.code") for number, place in enumerate(places)}

    def _command(self, item: Item, flag: str, words: list[str]) -> str:
        # In the folder of the copy: what it imports is found there, whatever becomes of the link, or of
        # the folder that Snakemake runs in.
        code = self._copies[item.entry.draft.snapshot_place]
        python = ["env", f"--chdir={code}", sys.executable, "run.py"]
        return shlex.join([*python, flag, str(self._orders), *words])

    def _told(self) -> dict[str, dict[str, str]]:
        return {
            folder: {
                "id": item.run.id,
                "task": item.entry.draft.composition.task,
                "command": self._launch_command(item) if folder in self._todo else "",
            }
            for folder, item in self._items.items()
        }

    # ---- Before the first job -------------------------------------------------------------------

    def begin(self) -> None:
        """Make the copy of the code, and write the orders. Not called for a dry run."""
        jobs = list(self._snakemake.dag.needrun_jobs())
        folders = {job.wildcards.run for job in jobs if job.rule.name == "launch"}
        self._launched = [item for folder, item in self._items.items() if folder in folders]
        self._is_asked_for_summary = any(job.rule.name == "summary" for job in jobs)
        self._is_asked_for_page = any(job.rule.name == "report" for job in jobs)
        self._lift_rate_limit()
        if not self._launched and not any(job.rule.name.startswith("freeze_") for job in jobs):
            return
        try:
            self._refuse_losses()
            self._refuse_too_many_gpus()
            self._leave_results_alone()
            self._aliases.make()
            drivers.sweep(self._driver.parent)
            drivers.record(self._driver, self.agenda.batch.name, self._on_stop, self._executor)
            self._orders_by_number = self._with_code([self._order(item) for item in self._todo.values()])
            write_orders(self._orders, self._orders_by_number)
            self._share_secrets()
            tell_children(self._driver.with_suffix(".children"), self.batch_name, self._told())
        except HeyhiError as problem:
            self._forget_and_leave(problem)
        except OSError as problem:
            self._forget_and_leave(HeyhiError(f"{problem.filename or self._orders}: {problem.strerror}"))

    @property
    def _executor(self) -> str:
        """Snakemake's name of the executor that starts the jobs."""
        return str(getattr(self._snakemake.executor_plugin, "name", ""))

    def _on_stop(self) -> None:
        self.was_told_to_stop = True

    def _lift_rate_limit(self) -> None:
        """Let jobs start as they can, unless a limit is asked for.

        By its default of 100 a second, Snakemake looks at all jobs again a second after each look, so that
        the looks of a second are as many as the jobs that have ended.
        """
        scheduler = self._snakemake.scheduler
        limit = scheduler.job_rate_limiter
        if limit is not None and (limit.max_jobs, limit.timespan) == _DEFAULT_RATE:
            scheduler.job_rate_limiter = None

    def _forget_and_leave(self, problem: HeyhiError) -> NoReturn:
        try:
            drivers.forget(self._driver)
        finally:
            _leave(problem)

    def _with_code(self, orders: list[Order]) -> list[Order]:
        """The orders with the copy of the code that each starts from, and links to the copies."""
        changed = with_code_state(orders, _tell)
        for order, known in zip(orders, changed, strict=True):
            place = None if order.snapshot_place is None else Path(order.snapshot_place)
            if not self._copies[place].is_symlink():
                self._copies[place].symlink_to(known.provenance["snapshot"] or self.project.root)
        return changed

    def _refuse_losses(self) -> None:
        """A restart wipes what is done or alive: once per call, on a word; Snakemake's forcing is one."""
        losses = [item for item in self._launched if item.plan.loses_work]
        if not losses or self._force:
            return
        kept = next((item for item in losses if item.plan.state.keeps), None)
        others = f", or not HeyHi's to wipe ({kept.run.id}: {kept.plan.state.keeps})," if kept else ""
        question = f"{len(losses)} runs that are done or alive{others} would be wiped"
        # A line of its own, as the progress bar holds back what has no end.
        answer = ask(f"{question}. Wipe them?", end="\n")
        if not answer:
            by_force = f"{question}; add --force (snakemake: --config force=1)"
            raise RefusedError(by_force if answer is None else "nothing was changed")

    def _refuse_too_many_gpus(self) -> None:
        if not self._snakemake.local_exec:
            return
        there = len(gpus.names())
        starting = [item for item in self._launched if item.kind is Kind.START or self._is_forced(item)]
        if any(map(_gpus_of, starting)):
            places.gpu_locks()  # that it is not ours is said once, before any job meets it
        greedy = [item for item in starting if _gpus_of(item) > there]
        if greedy:
            first, most = greedy[0], max(map(_gpus_of, greedy))
            others = f" ({len(greedy)} runs ask for too many, up to {most})" if len(greedy) > 1 else ""
            wanted = f"{_gpus_of(first)} GPU{'s' if _gpus_of(first) > 1 else ''}"
            raise RefusedError(
                f"{first.entry.where}: {first.run.id} asks for {wanted}, and this machine has "
                f"{there}{others}; nothing was started"
            )

    def _leave_results_alone(self) -> None:
        """Leave a run's files to its job.

        Snakemake would put the old result of a forced run back when it fails, which then would read as DONE;
        or delete one that another process has written.
        """
        persistence = self._snakemake.persistence
        items = self._items.values()
        ours = {Path(path) for it in items for path in (self._result(it.run.folder), self._config(it))}
        backup: Callable[[Path], None] = persistence.backup_output
        restore: Callable[[Path], bool] = persistence.restore_output
        persistence.backup_output = lambda path: None if path in ours else backup(path)
        persistence.restore_output = lambda path: path in ours or restore(path)

    # ---- After the last one ---------------------------------------------------------------------

    def end(self) -> None:
        """Say what is left, and how to go on; all jobs of this driver have ended."""
        drivers.forget(self._driver)
        if self._launched or self._is_asked_for_summary or self._is_asked_for_page:
            states = read_states(self.agenda.batch)
            self._write_summary(states)
            if self._is_asked_for_page:
                self._write_page(states)
            self._say_what_is_left(states)
        if self.was_interrupted:
            raise SystemExit(130)

    def _write_summary(self, states: Mapping[Path, RunState]) -> None:
        from heyhi.look import batch_records, columns, to_csv

        records = batch_records(of_batch(self.agenda.batch), states)
        _write("summary", self.summary_file, lambda: to_csv(columns(records)))

    def _write_page(self, states: Mapping[Path, RunState]) -> None:
        from heyhi.look import report

        batch = of_batch(self.agenda.batch)
        _write("report", self._page, lambda: report.make_page(report.of_batch(batch, states), self.project))

    def _say_what_is_left(self, states: Mapping[Path, RunState]) -> None:
        if not self._launched:
            return
        again = {
            item.run.folder: item for item in make_agenda(self.agenda.batch, Mode.GENTLE_START, states).items
        }
        now = [again[item.run.folder] for item in self._launched]
        left = [item for item in now if not item.plan.state.has_result]
        _tell(_how_many_are_done(len(now), len(left)))
        told = [f"{item.run.id}: {_in_short(item)}" for item in left]
        for line in some_lines(told, _MOST_LINES, f": heyhi plan {quoted(self.agenda.batch.name)}"):
            _tell(f"  {line}")
        if left:
            dead = any(item.plan.state.status.has_failed for item in left)
            mode = " --mode start_continue (or start_restart, which wipes first)" if dead else ""
            _tell(f"go on: {joined(['heyhi', 'start', self.agenda.batch.name, *_profile()])}{mode}")


def _profile() -> list[str]:
    """The words that choose the profile of this call."""
    words = [word for given in sys.argv for word in given.split("=", 1)]
    chosen = [after for word, after in pairwise(words) if word == "--profile"]
    return ["--profile", chosen[-1]] if chosen and Path(chosen[-1]).name != "local" else []


def _in_short(item: Item) -> str:
    if item.kind is Kind.START:
        return item.reason.replace("NOT_STARTED: start, once", "waits until").removesuffix(": start")
    return item.reason.partition(": left;")[0]


def _gpus_of(item: Item) -> int:
    needs = schedulers.needs_of(item.entry.draft.composition.config)
    return needs.gpus if needs else 0
