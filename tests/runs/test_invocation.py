from pathlib import Path
from typing import Any

import pytest

from heyhi.errors import UsageError
from heyhi.runs.invocation import Invocation, Mode, parse_argv

# Words after `-c x.prototxt` -> what they make of the invocation.
PARSED: dict[str, dict[str, Any]] = {
    "": {"mode": Mode.GENTLE_START, "only_shows": False},
    "lr=1 --seed=2 -tags.0=3": {"overrides": ("lr=1", "--seed=2", "--tags.0=3")},
    "-count=3": {"overrides": ("--count=3",), "cfg": "x.prototxt"},
    "a=b=c a= Ilauncher=big": {"overrides": ("a=b=c", "a=", "Ilauncher=big")},
    "--mode dryrun": {"mode": Mode.DRYRUN},
    "--mode=start_continue a=1": {"mode": Mode.START_CONTINUE, "overrides": ("a=1",)},
    "--adhoc": {"mode": Mode.RESTART, "adhoc": True},
    "--adhoc --mode gentle_start": {"mode": Mode.GENTLE_START},
    "--out here": {"pattern": "here"},
    "--exp_id_pattern_override %(cfg)s": {"pattern": "%(cfg)s"},
    "--exp_id_pattern_override a --out b": {"pattern": "b"},
    "--print --print-flat": {"print_text": True, "print_flat": True, "only_shows": True},
    "--print-flat-all": {"print_flat_all": True, "only_shows": True},
    "--print-out-dir": {"print_out_dir": True, "only_shows": True},
    "--help-cfg": {"help_cfg": "", "only_shows": True},
    "--help-cfg lr": {"help_cfg": "lr", "overrides": ()},
    "--help-cfg lr=1": {"help_cfg": "", "overrides": ("lr=1",)},
    "--explain lr": {"explain": "lr", "only_shows": True},
    "--log-level DEBUG --force": {"log_level": "DEBUG", "force": True},
    # Flags are not guessed from their beginning: these are fields of the config.
    "--o=y --check=y --pri=y": {"overrides": ("--o=y", "--check=y", "--pri=y")},
}


@pytest.mark.parametrize("words", PARSED)
def test_words_become_typed_values(words: str) -> None:
    invocation = parse_argv(["-c", "x.prototxt", *words.split()])
    for name, value in PARSED[words].items():
        assert getattr(invocation, name) == value


@pytest.mark.parametrize("words", ["-c y", "-c=y", "-cy", "--cfg y", "--cfg=y"])
def test_the_base_config_can_be_spelled(words: str) -> None:
    assert parse_argv(words.split()).cfg == "y"


def test_values_pass_through_untouched() -> None:
    odd = ["note=a b", "note=$(touch x)", "note=\"q\" 'q'", "note=two\nlines", "note=ü✓", "--note=-1"]
    assert parse_argv(["-c", "x", *odd]).overrides == tuple(odd)


REFUSED = {
    "": "the following arguments are required: -c/--cfg; see --help",
    "-c x lr": "bad argument 'lr': expected an override key=value, or a flag (see --help)",
    "-c x --adhok": "unknown flag '--adhok'; did you mean '--adhoc'?",
    "-c x --pri": "unknown flag '--pri'; did you mean '--print', '--grid', '--zip'?",
    "-c x -x": "unknown flag '-x'; see --help",
    "-c x --out": "argument --out/--exp_id_pattern_override: expected one argument; see --help",
    "-c x --mode restrat": "no such mode 'restrat'; did you mean 'restart', 'start_restart'?",
    "-c x --mode x": "no such mode 'x'; one of gentle_start, start_restart, start_continue, restart, dryrun",
    "-c x --log-level LOUD": "no such log level 'LOUD'; one of ERROR, WARN, INFO, DEBUG",
    "-c x -c y": "argument -c/--cfg: is given twice; see --help",
    "-c x --mode dryrun --mode restart": "argument --mode: is given twice; see --help",
    "-c x --print=y": "argument --print: ignored explicit argument 'y'; see --help",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_wrong_word_is_named(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_argv(words.split())
    assert str(caught.value) == REFUSED[words]


AGAIN = {
    "-c x lr=1": "-c x lr=1 --mode start_continue",
    "-c x --mode restart lr=1": "-c x lr=1 --mode start_continue",
    "--mode=dryrun -c x": "-c x --mode start_continue",
    "-c x --out a/b": "-c x --out a/b --mode start_continue",
    # An adhoc run would get a new folder.
    "-c x --adhoc --mode restart": "-c x --out /exp/it --mode start_continue",
    "-c x --adhoc --out=%(date)s lr=1": "-c x lr=1 --out /exp/it --mode start_continue",
}


@pytest.mark.parametrize("words", AGAIN)
def test_a_run_is_taken_up_again_in_another_mode(words: str) -> None:
    again = parse_argv(words.split()).again(Mode.START_CONTINUE, Path("/exp/it"))
    assert again == AGAIN[words].split()
    assert parse_argv(again).mode is Mode.START_CONTINUE


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_argv(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--cfg", "--mode", "--adhoc", "--out", "--print-flat-all", "--explain", "key=NULL"):
        assert flag in shown


def test_an_invocation_without_flags_is_gentle() -> None:
    assert Invocation("x").mode is Mode.GENTLE_START
