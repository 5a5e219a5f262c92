import os
from pathlib import Path

import pytest

from heyhi.batch.grid import expand
from heyhi.errors import UsageError
from heyhi.runs.invocation import parse_argv

# Words -> the overrides of each run.
WORDS = {
    "lr=1 seed=2": ["lr=1 seed=2"],
    "--grid lr=1 lr=2 seed=0 seed=1": ["lr=1 seed=0", "lr=1 seed=1", "lr=2 seed=0", "lr=2 seed=1"],
    "--grid lr=1 lr=2 --grid seed=0": ["lr=1 seed=0", "lr=2 seed=0"],
    "--grid seed=0 lr=1 seed=1": ["seed=0 lr=1", "seed=1 lr=1"],
    "--grid lr=1": ["lr=1"],
    "--zip lr=1 lr=2 wd=3 wd=4": ["lr=1 wd=3", "lr=2 wd=4"],
    "note=x --zip lr=1 lr=2 --grid seed=0 seed=1": [
        "note=x seed=0 lr=1",
        "note=x seed=0 lr=2",
        "note=x seed=1 lr=1",
        "note=x seed=1 lr=2",
    ],
    "--grid note=a=b note=c": ["note=a=b", "note=c"],
}


@pytest.mark.parametrize("words", WORDS)
def test_words_stand_for_runs(words: str, tmp_path: Path) -> None:
    invocation = parse_argv(["-c", "it", *words.split()])
    assert [" ".join(single.overrides) for single in expand(invocation, tmp_path)] == WORDS[words]


def test_a_single_run_keeps_its_flags_and_is_no_more_many(tmp_path: Path) -> None:
    words = "-c it --out %(redefines)s --mode restart --after a lr=1 --grid seed=1 seed=2"
    for single, seed in zip(expand(parse_argv(words.split()), tmp_path), ["seed=1", "seed=2"], strict=True):
        assert not single.is_many
        assert single.mode.value == "restart"
        assert single.after == ("a",)
        assert single.argv == ("-c", "it", "--out", "%(redefines)s", "lr=1", seed)


# A file's name and text -> `line of the table: overrides` of each run.
TABLES = {
    "CSV": ("t.csv", "lr,seed\n1,2\n3,4\n", ["2: lr=1 seed=2", "3: lr=3 seed=4"]),
    "TSV": ("t.tsv", "lr\tnote\n1\ta,b\n", ["2: lr=1 note=a,b"]),
    "tabs in a file of another name": ("t.txt", "lr\tseed\n1\t2\n", ["2: lr=1 seed=2"]),
    "one column": ("t.tsv", "lr\n1\n2\n", ["2: lr=1", "3: lr=2"]),
    "quotes": ("t.csv", 'lr,note\n1,"a, ""b"""\n', ['2: lr=1 note=a, "b"']),
    "a newline in quotes": ("t.csv", 'note,lr\n"a\nb",1\nc,2\n', ["3: note=a\nb lr=1", "4: note=c lr=2"]),
    "empty cells are unset": ("t.csv", "lr,seed\n1,\n,2\n", ["2: lr=1", "3: seed=2"]),
    "lines without text": ("t.csv", "lr,seed\n\n1,2\n,\n", ["3: lr=1 seed=2"]),
    "a BOM and Windows line ends": ("t.csv", "\ufefflr,seed\r\n1,2\r\n", ["2: lr=1 seed=2"]),
    "keys with spaces around, values as they are": ("t.csv", " lr , note\n1, a \n", ["2: lr=1 note= a "]),
    "dotted keys and includes": (
        "t.csv",
        "soil.depth,Ilauncher\n1,slurm\n",
        ["2: soil.depth=1 Ilauncher=slurm"],
    ),
    "no newline at the end": ("t.csv", "lr\n1", ["2: lr=1"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_a_table_is_a_run(name: str, tmp_path: Path) -> None:
    file, text, expected = TABLES[name]
    (tmp_path / file).write_bytes(text.encode())
    singles = expand(parse_argv(["-c", "it", "--table", file]), tmp_path)
    told = [f"{one.row.removeprefix(f'{file}:')}: {' '.join(one.overrides)}" for one in singles]
    assert told == expected


# The bytes of t.csv -> what is wrong with it.
BAD_TABLES = {
    b"": "--table t.csv: has no rows; the first line has the keys, each other one is a run",
    b"lr,seed\n": "--table t.csv: has no rows; the first line has the keys, each other one is a run",
    b"lr,seed\n1,2\n1\n": "--table t.csv:3: 1 cells, and the first line has 2",
    b"lr,lr\n1,2\n": "--table t.csv: the key 'lr' is there twice in the first line",
    b"lr,\n1,2\n": "--table t.csv: column 2 has no key in the first line",
    b'lr,seed\n"1"x,2\n': "--table t.csv:2: ',' expected after '\"'",
    b'lr\n"1\n': "--table t.csv:2: unexpected end of data",
    b"lr\n\xff\n": "--table t.csv:2: not UTF-8 text; save it as UTF-8",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_bad_table_is_one_clear_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(UsageError) as caught:
        expand(parse_argv(["-c", "it", "--table", "t.csv"]), tmp_path)
    assert str(caught.value) == BAD_TABLES[text]


@pytest.mark.parametrize("kind", ["a fifo", "a folder", "a device"])
def test_a_table_that_is_no_file_is_said_to_be_what_it_is(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero") if kind == "a device" else tmp_path / "it"
    if kind == "a fifo":
        os.mkfifo(path)
    if kind == "a folder":
        path.mkdir()
    with pytest.raises(UsageError, match=f"^--table {path}: is {kind}$"):
        expand(parse_argv(["-c", "it", "--table", str(path)]), tmp_path)


def test_a_table_may_be_a_pipe_that_the_shell_has_opened(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"lr\r\n1\r\n2\r\n")
    os.close(writer)
    singles = expand(parse_argv(["-c", "it", "--table", f"/dev/fd/{reader}"]), tmp_path)
    os.close(reader)
    assert [single.overrides for single in singles] == [("lr=1",), ("lr=2",)]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--table none.csv: cannot be read: No such file or directory$"):
        expand(parse_argv(["-c", "it", "--table", "none.csv"]), tmp_path)
