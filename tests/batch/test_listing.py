import json
import os
import re
from collections.abc import Sequence

import pytest

from heyhi.batch import listing
from heyhi.batch.agenda import Agenda, make_agenda
from heyhi.batch.capture import Remark
from heyhi.runs.invocation import Mode
from heyhi.runs.status import RunState, Status
from tests.conftest import BatchOf, Garden


def _agenda(batch_of: BatchOf, lines: dict[str, Status], mode: Mode = Mode.GENTLE_START) -> Agenda:
    batch = batch_of(*lines)
    states = zip(batch.entries, lines.values(), strict=True)
    return make_agenda(batch, mode, {entry.run.folder: RunState(status) for entry, status in states})


def _lines(agenda: Agenda, *, every: bool = False) -> list[str]:
    return list(listing.lines(agenda, every=every))


def test_a_line_says_what_is_to_be_done_and_why(batch_of: BatchOf) -> None:
    new, done = Status.NOT_STARTED, Status.DONE
    agenda = _agenda(
        batch_of,
        {
            "--out data lr=3": done,
            "--out first --after data launcher.slurm.num_gpus=8 launcher.slurm.partition=field": new,
            "--out second --after first --after data lr=2": new,
        },
    )
    assert _lines(agenda) == [
        "#2  first   NOT_STARTED: start  [8 GPUs, field]  (it.sh:2)",
        "#3  second  NOT_STARTED: start  after #2  (it.sh:3)",
        "it.sh: 3 runs: 2 NOT_STARTED, 1 DONE; 2 to start",
        "GPU hours in field: no limit for 1 run",
    ]
    assert _lines(agenda, every=True)[0] == "#1  data    DONE: skip  (it.sh:1)"


def test_a_long_id_is_cut_and_what_it_stands_for_is_told(batch_of: BatchOf) -> None:
    new = Status.NOT_STARTED
    first = batch_of.run("lr=1 seed=3").folder
    lines = {
        "lr=1 seed=3": new,
        f"lr=2 soil.kind={first}/model name={'x' * 3000}": new,
    }
    one, two, *_ = _lines(_agenda(batch_of, lines))
    assert one.startswith("#1  p/root/it/lr@1.0@seed@3_")
    assert "lr=1.0" not in one
    assert re.match(r"#2  p/root/it/lr@2.0@name@x+\.\.\._[0-9a-f]{8}  NOT_STARTED", two)
    assert len(two.split()[1]) == 60
    assert two.endswith(f"(it.sh:2)  lr=2.0 name={'x' * 92}... soil.kind=#1/model")
    assert len(two) < 280


def test_many_needs_are_counted(batch_of: BatchOf) -> None:
    lines = {f"--out r{i}": Status.NOT_STARTED for i in range(1, 9)}
    lines[" ".join(["--out last", *(f"--after r{i}" for i in range(1, 9))])] = Status.NOT_STARTED
    assert "after #1, #2, #3, #4, #5 and 3 more" in _lines(_agenda(batch_of, lines))[8]


def test_nothing_to_do_is_one_line(batch_of: BatchOf) -> None:
    assert _lines(_agenda(batch_of, {"lr=1": Status.DONE})) == ["it.sh: 1 run: 1 DONE; nothing to do"]


def test_odd_values_stay_on_their_line(batch_of: BatchOf) -> None:
    batch = batch_of(["lr=1", "name=a\nb c\x1b[1m", f"tags.-1={'y' * 80}"])
    states = {batch.entries[0].run.folder: RunState(Status.NOT_STARTED)}
    (line, *_) = _lines(make_agenda(batch, Mode.GENTLE_START, states))
    assert r"'name=a\nb c\x1b[1m'" in line
    assert "\n" not in line


def test_what_is_to_be_known_comes_last(batch_of: BatchOf) -> None:
    agenda = _agenda(batch_of, {"lr=1": Status.DONE, "lr=1 seed=7": Status.DONE})
    entry = agenda.items[0].entry._replace(drift=("seed 7 -> 3",))
    remarks = tuple(Remark(f"it.sh:{i}", f"look {i}") for i in range(30))
    batch = agenda.batch._replace(commands=("ls", "seq"), remarks=remarks)
    items = (agenda.items[0]._replace(entry=entry, reason="DONE (drifted: seed 7 -> 3): skip"),)
    told = _lines(agenda._replace(batch=batch, items=items))
    assert told[1] == "listing ran the script, with these commands of its own: ls, seq"
    assert told[2].startswith(f"note: it.sh:1: {entry.run.id}: DONE (drifted: seed 7 -> 3): skip")
    assert told[3] == "note: it.sh:0: look 0"
    assert told[-1] == "note: ... and 11 more"
    same = tuple(Remark(f"it.sh:{number}", "look") for number in (3, 7, 9))
    told = _lines(agenda._replace(batch=batch._replace(remarks=same), items=items))
    assert told[-1] == "note: it.sh: look (on lines 3, 7 and 9)"


KEYS = [
    "id",
    "folder",
    "status",
    "action",
    "reason",
    "base_config",
    "config",
    "overrides",
    "resources",
    "needs",
    "source",
]


def test_json_has_an_object_a_line_with_the_same_keys(batch_of: BatchOf) -> None:
    lines = {
        "--out a lr=1 name=é launcher.slurm.num_gpus=2": Status.NOT_STARTED,
        "--out b --after a": Status.DEAD,
        "--out c": Status.DONE,
        "--out d": Status.RUNNING,
    }
    agenda = _agenda(batch_of, lines)
    objects = [json.loads(line) for line in listing.json_lines(agenda)]
    assert [list(one) for one in objects] == [KEYS] * 3
    assert [one["action"] for one in objects] == ["start", "leave", "adopt"]
    first, second, _ = objects
    assert first["folder"] == str(batch_of.exp / "a")
    assert first["overrides"] == ["lr=1.0", "name=é", "launcher.slurm.num_gpus=2"]
    assert first["config"]["name"] == "é"
    assert first["resources"]["gpus"] == 2
    assert first["source"] == "it.sh:1"
    assert second["needs"] == [str(batch_of.exp / "a")]
    assert second["resources"] is None
    assert len(list(listing.json_lines(agenda, every=True))) == 4


# ---- The command --------------------------------------------------------------------------------


def _plan(garden: Garden, *words: str, stdin: str = "") -> tuple[int, list[str], list[str]]:
    done = garden.python("-m", "heyhi.commands", "plan", *words, stdin=stdin)
    return done.status, done.out.splitlines(), done.err.splitlines()


def test_plan_lists_a_script_and_starts_nothing(garden: Garden) -> None:
    (garden.root / "it.sh").write_text(
        "for lr in 1 2; do\n  python run.py -c conf/beds/carrot lr=$lr\ndone\nls > /dev/null\n"
    )
    status, out, err = _plan(garden, "it.sh")
    assert (status, err) == (0, [])
    assert [line.partition("_")[0] for line in out[:2]] == [
        "#1  p/beds/carrot/lr@1.0",
        "#2  p/beds/carrot/lr@2.0",
    ]
    assert [line.partition("  NOT")[2] for line in out[:2]] == ["_STARTED: start  (it.sh:2)"] * 2
    assert out[2:] == [
        "it.sh: 2 runs: 2 NOT_STARTED; 2 to start",
        "listing ran the script, with these commands of its own: ls",
    ]
    assert os.listdir(garden.exp) == [".heyhi"], "what looking at the batch needs"


def test_plan_reads_lines_on_stdin(garden: Garden) -> None:
    status, out, _ = _plan(
        garden, "-", "--json", stdin="-c conf/beds/carrot lr=1\npython run.py -c conf/beds/carrot\n"
    )
    assert status == 0
    assert [json.loads(line)["source"] for line in out] == ["stdin:1", "stdin:2"]


# Words after `heyhi plan`, in a project with bad.sh and empty.sh -> what is said.
BAD: list[tuple[Sequence[str], str]] = [
    (["none.sh"], "error: none.sh: cannot be read: No such file or directory"),
    (["conf"], "error: conf: is a folder; a batch is a bash script"),
    (["fifo"], "error: fifo: is a fifo; a batch is a bash script"),
    (["/dev/zero"], "error: /dev/zero: is a device; a batch is a bash script"),
    (["run.py"], "error: run.py: is not a bash script: line"),
    (["empty.sh"], "error: empty.sh: no `python run.py ...` line in it"),
    (["-"], "error: stdin: no `python run.py ...` line in it"),
    (["table.sh"], "error: table.sh: 1 error; nothing was started"),
    (
        ["empty.sh", "--mode", "gentle"],
        "error: no such mode 'gentle'; did you mean 'gentle_start'?",
    ),
    ([], "error: the following arguments are required: BATCH; see --help"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_a_clear_line_and_exit_status_2(words: Sequence[str], said: str, garden: Garden) -> None:
    (garden.root / "empty.sh").write_text("\n")
    os.mkfifo(garden.root / "fifo")
    (garden.root / "table.sh").write_text("python run.py -c conf/beds/carrot --table t.csv\n")
    (garden.root / "t.csv").write_text("lrr,seed\n1,2\n3,4\n")
    status, out, err = _plan(garden, *words)
    assert (status, out) == (2, [])
    assert err[0].startswith(said)
    assert len(err) == (2 if "table.sh" in words else 1)
