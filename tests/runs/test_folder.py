import pytest

from heyhi.runs.folder import Run, execution_of, read_provenance, remove_partials
from heyhi.runs.ids import JobId


def test_broken_provenance_reads_as_none(run: Run) -> None:
    assert read_provenance(run) == {}
    for text in ("", "{", "[1]", "\x00", "[" * 100_000):
        run.provenance.write_text(text)
        assert read_provenance(run) == {}


ONE, TWO = "1" * 16, "2" * 16
EXECUTIONS = {
    "of its last start": (f'[{{"job": "7", "id": "{ONE}"}}, {{"job": "7", "id": "{TWO}"}}]', TWO),
    "not of another job's": (f'[{{"job": "7", "id": "{ONE}"}}, {{"job": "8", "id": "{TWO}"}}]', ONE),
    "of a start of before": ('[{"job": "7", "started": "2026-01-01"}]', "98098534b6a8f7d2"),
    "of a forged id": ('[{"job": "7", "id": "../../x", "started": "2026-01-01"}]', "98098534b6a8f7d2"),
    "of a job that noted no start": ("[]", "7902699be42c8a8e"),
    "of a job with other starts": (f'[{{"job": "8", "id": "{ONE}"}}, 3, {{}}]', "7902699be42c8a8e"),
    "of broken starts": ('{"job": "7"}', "7902699be42c8a8e"),
}


@pytest.mark.parametrize(("starts", "execution"), EXECUTIONS.values(), ids=EXECUTIONS)
def test_each_start_is_an_execution(run: Run, starts: str, execution: str) -> None:
    run.jobid.write_text("7")
    run.provenance.write_text(f'{{"starts": {starts}}}')
    assert execution_of(run) == execution_of(run, JobId("7")) == execution


def test_what_a_killed_process_left_half_written_is_removed_whatever_file_of_ours_it_was(run: Run) -> None:
    properties = [name for name, value in vars(Run).items() if isinstance(value, property)]
    # The lock and the log are never written beside their place.
    ours = [getattr(run, name) for name in properties if name not in ("lock", "log")]
    ours += [run.ended("0123456789abcdef")]
    assert len(ours) >= 9
    for path in ours:
        (run.folder / f".{path.name}.0123abcd.partial").touch()
    theirs = (".model.json.0123abcd.partial", "result.json.partial", ".result.json")
    others = [run.folder / name for name in theirs]
    for path in others:
        path.touch()
    remove_partials(run)
    assert sorted(run.folder.iterdir()) == sorted([*others, run.provenance])
