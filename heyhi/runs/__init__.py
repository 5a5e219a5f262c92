"""A run: its folder, its id, its status, and the plan for it.

    argv ─invocation─▶ draft ─▶ ids, folder, status ─▶ plan ─▶ order

find, fingerprints: lists of runs; drift, migration: runs beside the present schema and configs;
claim, guard, processes: the process at work in a folder; ownership, places, secret_names: limits;
results, elsewhere: a run's result, and its place; deaths, failures: the reason of a run's end.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.runs.draft import (
        Draft, find_aliases, find_collision, find_drift, find_obstacle, make_draft, make_order,
    )
    from heyhi.runs.drift import Drift
    from heyhi.runs.elsewhere import Place
    from heyhi.runs.find import Found, all_runs, find_run, find_runs, is_run_folder, runs_at, some_project
    from heyhi.runs.folder import (
        Run, provenance_text, read_job, read_provenance, remove_partials, starts_of,
    )
    from heyhi.runs.ids import EXP_ID_PATTERN, SUBMITTING, JobId, make_id, real_path, this_process
    from heyhi.runs.invocation import Invocation, Mode, OneOf, Parser, parse_argv, run_py_parser, to_mode
    from heyhi.runs.order import Order, read_order, write_orders
    from heyhi.runs.plan import Action, Plan, make_plan
    from heyhi.runs.processes import this_host
    from heyhi.runs.results import scalars
    from heyhi.runs.secret_names import HIDDEN, Kept, Secrets
    from heyhi.runs.status import (
        RESULT_AT, STARTING, Queue, QueuedJob, RunState, Status, is_at_work, is_done, is_its_job, left_queue,
        read_state, result_place, status_on_disk,
    )

__getattr__ = hand_on(
    __name__,
    whole="claim deaths elsewhere failures fingerprints guard migration ownership places processes results",
    draft="Draft find_aliases find_collision find_drift find_obstacle make_draft make_order",
    drift="Drift",
    elsewhere="Place",
    find="Found all_runs find_run find_runs is_run_folder runs_at some_project",
    folder="Run provenance_text read_job read_provenance remove_partials starts_of",
    ids="EXP_ID_PATTERN JobId SUBMITTING make_id real_path this_process",
    invocation="Invocation Mode OneOf Parser parse_argv run_py_parser to_mode",
    order="Order read_order write_orders",
    plan="Action Plan make_plan",
    processes="this_host",
    results="scalars",
    secret_names="HIDDEN Kept Secrets",
    status=(
        "Queue QueuedJob RESULT_AT RunState STARTING Status is_at_work is_done is_its_job "
        "left_queue read_state result_place status_on_disk"
    ),
)
# fmt: on
