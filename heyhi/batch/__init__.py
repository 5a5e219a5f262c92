"""Many command lines: a script becomes runs, and a driver carries out the ones that are left.

batch.sh ─capture, grid─▶ command lines ─entries─▶ runs and their needs ─agenda─▶ work left ─drivers─▶

intercept: run.py during a capture; stored: the last capture, for looking;
listing: an agenda as text; snakemake_files: the folders of Snakemake's own files.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.batch.agenda import Agenda, Item, Kind, make_agenda, read_states
    from heyhi.batch.capture import Captured, Line
    from heyhi.batch.drivers import PAGE, Driver, file_about
    from heyhi.batch.entries import lines_of_stdin, read_batch
    from heyhi.batch.grid import expand
    from heyhi.batch.listing import Listing
    from heyhi.batch.snakemake_files import have_cache, leave_readonly_folder
    from heyhi.batch.stored import Planned, StoredBatch, find_batch, is_batch, of_batch, store

__getattr__ = hand_on(
    __name__,
    whole="drivers entries intercept listing",
    agenda="Agenda Item Kind make_agenda read_states",
    capture="Captured Line",
    drivers="Driver PAGE file_about",
    entries="lines_of_stdin read_batch",
    grid="expand",
    listing="Listing",
    snakemake_files="have_cache leave_readonly_folder",
    stored="Planned StoredBatch find_batch is_batch of_batch store",
)
# fmt: on
