"""Start one run: its state and the mode make a plan; the plan is said, confirmed, and carried out.

draft ─▶ state ─▶ plan ─▶ order ─▶ here, or submitted ─▶ Report
"""

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from heyhi.errors import HeyhiError, RefusedError
from heyhi.log import ask, say
from heyhi.project import Project, variable
from heyhi.runs import Invocation
from heyhi.texts import quoted

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from heyhi.launch.job import Main, Outcome
    from heyhi.launch.slurm_options import Resources
    from heyhi.runs import Draft, Kept, Order, Plan, RunState

__all__ = ["Report", "start_run"]


class Report(NamedTuple):
    """The outcome of an invocation: the run, its state, and its end if it ran here.

    Of a run that was submitted its folder has been said just before.
    """

    draft: "Draft"
    state: "RunState"
    outcome: "Outcome | None" = None
    is_submitted: bool = False


def start_run(main: "Main", invocation: Invocation, draft: "Draft", meta_class: type["Message"]) -> Report:
    """Decide what is to be done with the run, say so, and do it. Raises HeyhiError."""
    from heyhi.launch.here import Lost, launch_here, move_in
    from heyhi.launch.schedulers import SCHEDULERS, allocation, chosen, needs_of, read_state
    from heyhi.runs import Action, make_order, make_plan

    state = read_state(draft.run)
    _say_what_is_there(draft, state, invocation)
    plan = make_plan(state, invocation.mode)
    if plan.action is Action.REFUSE:
        raise RefusedError(_why_refused(draft, state))
    if plan.action is Action.SKIP or _is_for_rank_0():
        return Report(draft, state)
    if plan.action is Action.MOVE_IN:
        say(f"{draft.run.id}: {plan.reason}")
        return Report(draft, move_in(draft.run))
    here, resources = allocation(), None
    scheduler = chosen(draft.composition.config) if here is None or here[1].rank is None else None
    if scheduler:
        SCHEDULERS[scheduler].refuse_if_missing()
        resources = needs_of(draft.composition.config)
    _confirm(plan, draft, invocation)
    say(f"{draft.run.id}: {plan.reason}\n  folder {draft.run.folder}")
    order = make_order(draft)._replace(environment=_exported(draft.project))
    if scheduler and resources:
        return _submit(order, plan, scheduler, resources, draft)
    outcome = launch_here(order, plan, main, meta_class, say)
    if isinstance(outcome, Lost):
        say("  another process was faster")
        return Report(draft, outcome.state)
    return Report(draft, read_state(draft.run), outcome)


def _exported(project: Project) -> "dict[str, Kept]":
    """The variables that make the run what it is, as what `heyhi replay` prints names them."""
    names = shlex.split(variable("HEYHI_EXPORTED"))
    if not names:
        return {}
    from heyhi.runs import Secrets

    secrets = Secrets.of(project)
    known = secrets.values(os.environ).values()
    return secrets.kept({name: os.environ.get(name) for name in names}, known)


def _is_for_rank_0() -> bool:
    """True on every rank but 0 of a user's own job step: rank 0 starts the run."""
    from heyhi.launch.schedulers import allocation

    found = allocation()
    if found is None or not found[1].rank:
        return False
    say(f"note: this is rank {found[1].rank} of a {found[0]} step; rank 0 starts the run")
    return True


def _submit(order: "Order", plan: "Plan", scheduler: str, resources: "Resources", draft: "Draft") -> Report:
    from heyhi.launch.here import with_code_state
    from heyhi.launch.schedulers import read_state
    from heyhi.launch.submission import Submission, submit

    (order,) = with_code_state([order], say)
    label = order.id.rpartition("/")[2]
    (job,) = submit([Submission(order, plan, resources, label)], scheduler, say)
    if isinstance(job, HeyhiError):
        raise job
    if job is None:
        say("  another process was faster")
    else:
        say(f"  submitted: job {job.text}\n  tail -F {quoted(str(draft.run.log))}")
    return Report(draft, read_state(draft.run), is_submitted=True)


def _why_refused(draft: "Draft", state: "RunState") -> str:
    return (
        f"{draft.run.id}: {state.status.value}: {state.detail}; it is not wiped on a guess; "
        f"{state.way_on(draft.run)}"
    )


def _say_what_is_there(draft: "Draft", state: "RunState", invocation: Invocation) -> None:
    """Print the folder's owner, the changes since, and other runs with the same config."""
    from heyhi.runs import Status, find_aliases, find_collision, find_drift, find_obstacle

    if state.keeps:
        return  # it was not composed here: there is nothing to compare
    if state.status is not Status.NOT_STARTED:
        collision = None if invocation.pattern else find_collision(draft)
        if collision:
            raise RefusedError(f"{draft.run.folder}: {collision}; --out names another folder")
        drift = find_drift(draft)
        if drift:
            say(f"{draft.run.id}: {state.status.value} (drifted: {'; '.join(drift)})")
            say("  the config is not the one that this run was frozen with; --mode restart runs it anew")
        return
    if obstacle := find_obstacle(draft, invocation.mode):
        raise RefusedError(f"{draft.run.folder}: {obstacle}")
    if not invocation.adhoc:
        for other in find_aliases(draft):
            say(f"note: {other.id} has the same config; its folder is {other.folder}")


def _confirm(plan: "Plan", draft: "Draft", invocation: Invocation) -> None:
    from heyhi.runs import Action

    if not plan.loses_work or invocation.force:
        return
    reason = plan.state.detail if plan.state.result_place else plan.state.keeps
    why = f" ({reason})" if reason else ""
    what = "continued" if plan.action is Action.CONTINUE else "wiped"
    question = f"{draft.run.id} is {plan.state.status.value}{why}: 1 run would be {what}"
    verb = "Continue" if what == "continued" else "Wipe"
    answer = ask(f"{question}: {draft.run.folder}\n{verb} it?")
    if not answer:
        raise RefusedError(f"{question}; add --force to do it" if answer is None else "nothing was changed")
