"""Data sets of games: the file that play_games writes, and the arrays that train learns from.

A line of the file is one game: its seed, the orders of each phase, the centres at its end. Positions are not
stored: the engine plays the orders again.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks import checks
from tasks.board import FIRST_YEAR, POWERS, Position, carry_out, new_game
from tasks.features import Array, encode_orders, encode_position
from tasks.files import write_whole
from tasks.play import GameRecord
from tasks.scores import square_scores

if TYPE_CHECKING:
    from conf import conf_cfgs


def write_games(path: Path, records: Iterable[GameRecord]) -> None:
    """Writes the data set whole: JSON lines, gzip. The same games give the same bytes."""
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    write_whole(path, lambda stream: stream.write(gzip.compress(lines.encode(), mtime=0)))


def read_games(path: Path) -> list[GameRecord]:
    """Returns the games of a data set; raises ValueError if the file is none."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        games = [json.loads(line) for line in lines]
        return [GameRecord(g["seed"], tuple((p, o) for p, o in g["phases"]), g["centers"]) for g in games]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: not a data set that play_games wrote ({error!r})") from None


@dataclass(frozen=True)
class Examples:
    """Positions, the orders possible at each, and those that were given.

    Possible orders stand in one long list, decision after decision, and decisions position after position.
    """

    #: (positions, provinces, FEATURES), float16: what is in it needs no more.
    boards: Array
    #: How much each position counts: (positions,), float32.
    weights: Array
    #: Which decisions belong to position i: decision_starts[i] up to decision_starts[i + 1].
    decision_starts: Array
    #: Which of its options was ordered, per decision.
    chosen: Array
    #: Which options belong to decision j: option_starts[j] up to option_starts[j + 1].
    option_starts: Array
    #: (options, 4), as encode_orders gives them.
    options: Array

    def __len__(self) -> int:
        return len(self.boards)


@dataclass(frozen=True)
class _Example:
    board: Array
    weight: float
    choices: list[list[str]]
    chosen: list[int]


def load_examples(cfg: conf_cfgs.NoPressDatasetParams) -> tuple[Examples, Examples]:
    """Returns the examples to train on, and those of the last games, kept for validation.

    Raises ValueError if the config or its file is not fit for use.
    """
    path = checks.existing_file("dataset_params.games_path", cfg.games_path)
    val_fraction = checks.within("dataset_params.val_fraction", cfg.val_fraction, 0, 0.9)
    if cfg.value_decay_alpha is not None:
        checks.within("dataset_params.value_decay_alpha", cfg.value_decay_alpha, 0, 1)
    if cfg.max_games is not None:
        checks.at_least("dataset_params.max_games", cfg.max_games, 1)
    games = read_games(path)[: cfg.max_games]
    num_val = round(len(games) * val_fraction)
    train = make_examples(games[: len(games) - num_val], cfg.value_decay_alpha, cfg.debug_only_opening_phase)
    val = make_examples(games[len(games) - num_val :], cfg.value_decay_alpha, cfg.debug_only_opening_phase)
    if not len(train):
        raise ValueError(
            f"dataset_params: nothing to train on in {path}: {len(games)} games, {num_val} for validation"
        )
    return train, val


def make_examples(games: Sequence[GameRecord], alpha: float | None, only_opening: bool) -> Examples:
    """Returns one example for each power and phase in which it had to order and that counts for something."""
    examples = [
        example for game in games for example in _replay(game, alpha, only_opening) if example.weight > 0
    ]
    choices = [options for example in examples for options in example.choices]
    boards = [example.board for example in examples]
    return Examples(
        np.array(boards, np.float16) if boards else np.zeros((0, 0, 0), np.float16),
        np.array([example.weight for example in examples], np.float32),
        _starts([len(example.choices) for example in examples]),
        np.array([index for example in examples for index in example.chosen], np.int64),
        _starts([len(options) for options in choices]),
        encode_orders([text for options in choices for text in options]),
    )


def _starts(lengths: Sequence[int]) -> Array:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _replay(record: GameRecord, alpha: float | None, only_opening: bool) -> Iterator[_Example]:
    """Plays the game again and yields what each power that had to order met, and did."""
    game, centers, met = new_game(), [], []
    for index, (phase, orders) in enumerate(record.phases):
        position = Position(game)
        if position.phase != phase:
            raise ValueError(f"game {record.seed}: its orders lead to {position.phase}, not to {phase}")
        centers.append(position.center_counts)
        if not only_opening or position.year == FIRST_YEAR:
            for power in POWERS:
                if choices := position.choices(power):
                    chosen = _chosen(choices, orders.get(power, []), f"{phase}, {power}")
                    met.append((index, power, encode_position(position, power), choices, chosen))
        carry_out(game, orders)
    weights = position_weights([*centers, record.centers], alpha)
    for index, power, board, choices, chosen in met:
        yield _Example(board, weights[index][power], choices, chosen)


def _chosen(choices: Sequence[Sequence[str]], orders: Sequence[str], who: str) -> list[int]:
    """Which option of each list was ordered."""
    left, chosen = list(orders), []
    for options in choices:
        text = next((text for text in left if text in options), None)
        if text is None:
            raise ValueError(f"{who}: none of the orders {left} is possible there")
        left.remove(text)
        chosen.append(options.index(text))
    return chosen


def position_weights(centers: Sequence[Mapping[str, int]], alpha: float | None) -> list[dict[str, float]]:
    """Returns how much each phase's orders count, per power; the mean over the powers is 1.

    `centers` holds the counts at each phase, and those at the end. The weight follows the value of the
    position: `alpha` times the value of the next one, and for the rest the present square score. So at alpha
    1 the final score weighs all of a game alike, and at 0 each position's own. Without alpha all are alike.
    """
    if alpha is None:
        return [dict.fromkeys(counts, 1.0) for counts in centers[:-1]]
    value, values = square_scores(centers[-1]), []
    for counts in reversed(centers[:-1]):
        now = square_scores(counts)
        value = {power: alpha * value[power] + (1 - alpha) * now[power] for power in now}
        values.append({power: len(value) * share for power, share in value.items()})
    return values[::-1]


def batches(examples: Examples, order: Sequence[int] | Array, size: int) -> Iterator[Batch]:
    """Yields the examples in the given order, `size` positions at a time; the last batch may be smaller."""
    for start in range(0, len(order), size):
        yield _batch(examples, np.asarray(order[start : start + size]))


@dataclass(frozen=True)
class Batch:
    """A few positions of some Examples, counted from 0."""

    boards: Array
    #: (options, 4).
    options: Array
    #: The position of each option.
    rows: Array
    #: (decisions, most options of one): each decision's options, then -1.
    table: Array
    #: Of each decision, the column of what was ordered, and the weight of its position.
    chosen: Array
    weights: Array


def _batch(examples: Examples, positions: Array) -> Batch:
    decisions, decision_row = _ranges(examples.decision_starts, positions)
    options, option_row = _ranges(examples.option_starts, decisions)
    lengths = np.bincount(option_row, minlength=len(decisions))
    columns = np.arange(lengths.max())
    first = np.cumsum(lengths) - lengths
    table = np.where(columns < lengths[:, None], first[:, None] + columns, -1)
    return Batch(
        examples.boards[positions].astype(np.float32),
        examples.options[options].astype(np.int64),
        decision_row[option_row],
        table,
        examples.chosen[decisions],
        examples.weights[positions][decision_row],
    )


def _ranges(starts: Array, items: Array) -> tuple[Array, Array]:
    """The numbers from starts[i] up to starts[i + 1] for all items i in turn, and which item each is of."""
    lengths = starts[items + 1] - starts[items]
    row = np.repeat(np.arange(len(items)), lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return starts[items][row] + within, row
