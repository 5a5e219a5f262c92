"""Show the state and the results of runs from their folders. This room executes no code of a project.

run folders ─records, record_cache─▶ columns ─tables, where─▶ a table ─formats─▶ text, CSV, HTML, Parquet
            ─labels, graph, curves, report─▶ one HTML page (page/)
            ─status─▶ counts, reasons, what to do next
            ─logs, comparison, replay─▶ one run, or two
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.look.formats import to_csv
    from heyhi.look.logs import Follower, Watched, tail
    from heyhi.look.records import batch_records, read_records
    from heyhi.look.replay import replay_of
    from heyhi.look.status import Look, Overview, overview_lines, overview_panel
    from heyhi.look.tables import columns, frame, summary

__getattr__ = hand_on(
    __name__,
    whole="comparison formats report tables",
    formats="to_csv",
    logs="Follower Watched tail",
    records="batch_records read_records",
    replay="replay_of",
    status="Look Overview overview_lines overview_panel",
    tables="columns frame summary",
)
# fmt: on
