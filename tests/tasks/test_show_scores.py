import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.show_scores import agent_name, score_rows
from tests.tasks.small_tasks import COMPARE, ROOT, environment, run_folder, run_py

GREEDY = {"greedy": {"epsilon": 0.1}}
RANDOM: dict[str, Any] = {"random": {}}


def write_run(folder: Path, one: dict[str, Any], six: dict[str, Any], seed: int, *scores: float) -> Path:
    """A run of compare_agents that is done."""
    folder.mkdir(parents=True)
    config = {"agent_one": one, "agent_six": six, "seed": seed, "max_year": 1910}
    (folder / "heyhi.json").write_text(json.dumps({"task": "compare_agents", "config": config}))
    (folder / "result.json").write_text(json.dumps({"square_scores": scores}))
    return folder


def test_a_row_sums_up_all_games_of_a_pair_and_the_best_is_first(tmp_path: Path) -> None:
    write_run(tmp_path / "a", RANDOM, GREEDY, 0, 0.1)
    write_run(tmp_path / "b", GREEDY, RANDOM, 0, 0.5, 0.7)
    write_run(tmp_path / "c" / "d", GREEDY, RANDOM, 2, 0.9)
    assert score_rows(tmp_path) == [
        ("greedy epsilon=0.1", "random", "0.700", "0.115", "3"),
        ("random", "greedy epsilon=0.1", "0.100", "-", "1"),
    ]


def test_a_game_in_two_runs_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a", GREEDY, RANDOM, 0, 0.5, 0.7)
    write_run(tmp_path / "b", GREEDY, RANDOM, 1, 0.7, 0.9)
    assert score_rows(tmp_path) == [("greedy epsilon=0.1", "random", "0.700", "0.115", "3")]


def test_other_tasks_and_runs_that_are_not_done_are_left_out(tmp_path: Path) -> None:
    (write_run(tmp_path / "a", GREEDY, RANDOM, 0, 0.5) / "result.json").unlink()
    training = write_run(tmp_path / "b", GREEDY, RANDOM, 0, 0.5)
    (training / "heyhi.json").write_text('{"task": "train", "config": {"lr": 0.1}}')
    assert score_rows(tmp_path) == []


def test_a_model_is_told_by_its_learning_rate(tmp_path: Path) -> None:
    (tmp_path / "heyhi.json").write_text('{"task": "train", "config": {"lr": 0.003}}')
    agent = {"base_strategy_model": {"model_path": str(tmp_path / "model.json"), "temperature": 0.5}}
    assert agent_name(agent) == "model lr=0.003 temperature=0.5"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (RANDOM, "random"),
        (
            {"base_strategy_model": {"model_path": "/of/old/model.json"}},
            "model model_path=/of/old/model.json",
        ),
        (
            {"searchbot": {"blueprint": GREEDY, "num_rollouts": 2}},
            "searchbot blueprint=(greedy epsilon=0.1) num_rollouts=2",
        ),
    ],
)
def test_agents_that_differ_have_different_names(agent: dict[str, Any], name: str) -> None:
    assert agent_name(agent) == name


def show_scores(exp: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tasks.show_scores", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment(exp), capture_output=True, text=True, check=False
    )


@pytest.mark.processes
def test_the_table_of_real_runs(tmp_path: Path) -> None:
    words = ("-c", COMPARE, "Iagent_one=agents/greedy", "Iagent_six=agents/random", "max_year=1901")
    assert run_py(tmp_path, *words).status == 0
    result = json.loads((run_folder(tmp_path, *words) / "result.json").read_text())
    shown = show_scores(tmp_path, str(tmp_path / "p"))
    assert shown.stdout.splitlines() == [
        "player              against six  square score  standard error  games",
        f"greedy epsilon=0.1  random              {result['square_score']:.3f}               -      1",
        "equal play: 1/7 = 0.143",
    ]


@pytest.mark.processes
def test_a_folder_without_runs_is_an_error_that_names_it(tmp_path: Path) -> None:
    shown = show_scores(tmp_path)
    assert shown.returncode == 1
    assert shown.stderr == f"{tmp_path}/p/c01_ag_cmp/cmp_model: no run of compare_agents that is done\n"
