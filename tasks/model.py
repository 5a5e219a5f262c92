"""The policy: an encoder turns a position into one embedding per province, and orders are scored on those.

    position (provinces, FEATURES) ─ encoder: mlp | transformer ─▶ (provinces, hidden)
        ─ avg_embedding? ─▶ score(order) from the embeddings of its source, other and target, and its kind

Weights are a dict of float32 arrays; everything here is autograd's numpy, so that it can be differentiated.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from tasks import checks
from tasks.board import KINDS, PROVINCES
from tasks.features import FEATURES, Array, adjacency
from tasks.files import write_text

if TYPE_CHECKING:
    from conf import conf_cfgs

Weights = dict[str, Array]
#: An array, or autograd's box around one while a gradient is taken.
Tensor = Any


@dataclass(frozen=True)
class Architecture:
    """What of a model is not its weights."""

    encoder: str
    hidden_size: int
    num_layers: int
    num_heads: int
    avg_embedding: bool


def read_architecture(cfg: conf_cfgs.TrainTask) -> Architecture:
    """Returns what the config asks for; raises ValueError if no encoder is chosen or its sizes do not fit."""
    kind, encoder = cfg.encoder.which_encoder, cfg.encoder.encoder
    if kind is None or encoder is None:
        raise ValueError("encoder: none chosen; encoder.mlp=SELECT or encoder.transformer=SELECT")
    name = f"encoder.{kind}"
    hidden = checks.at_least(f"{name}.hidden_size", encoder.hidden_size, 1)
    layers = checks.at_least(f"{name}.num_layers", encoder.num_layers, 1)
    heads = checks.at_least(f"{name}.num_heads", getattr(encoder, "num_heads", 1), 1)
    if hidden % heads:
        raise ValueError(f"{name}.num_heads must divide hidden_size: {heads} does not divide {hidden}")
    return Architecture(kind, hidden, layers, heads, cfg.avg_embedding)


def initial_weights(arch: Architecture, seed: int) -> Weights:
    """Returns random weights: normal, of variance 1 / (inputs), which keeps that of what passes through.

    Scores start at zero: at first all orders are as likely.
    """
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]), np.float32)

    hidden = arch.hidden_size
    weights = {"in": draw(len(FEATURES), hidden), "in.place": 0.1 * draw(len(PROVINCES), hidden)}
    for layer in range(arch.num_layers):
        shapes = _LAYERS[arch.encoder][1](hidden)
        weights |= {f"{layer}.{name}": draw(*shape) for name, shape in shapes.items()}
    for name in ("source", "other", "target"):
        weights[f"order.{name}"] = draw(hidden, hidden)
    weights["order.kind"] = 0.1 * draw(len(KINDS), hidden)
    weights["order.score"] = np.zeros((hidden, 1), np.float32)
    return weights


def score_orders(arch: Architecture, weights: Weights, boards: Array, orders: Array, rows: Array) -> Tensor:
    """Returns the score (unnormalised log probability) of each order: (orders,).

    `boards` is (positions, provinces, FEATURES), `orders` (orders, 4) as `encode_orders` gives them, and
    `rows` (orders,) tells the position that each order is for.
    """
    places = _encode(arch, weights, boards)
    places = places.reshape(-1, arch.hidden_size)
    offsets = rows * len(PROVINCES)
    hidden = take_rows(weights["order.kind"], orders[:, 0])
    for column, name in enumerate(("source", "other", "target"), start=1):
        hidden = hidden + take_rows(anp.dot(places, weights[f"order.{name}"]), offsets + orders[:, column])
    return anp.dot(_relu(hidden), weights["order.score"])[:, 0]


def _encode(arch: Architecture, weights: Weights, boards: Array) -> Tensor:
    places = _linear(boards, weights["in"]) + weights["in.place"]
    layer = _LAYERS[arch.encoder][0]
    for index in range(arch.num_layers):
        names = _LAYERS[arch.encoder][1](arch.hidden_size)
        places = layer(places, {name: weights[f"{index}.{name}"] for name in names}, arch.num_heads)
    return anp.matmul(adjacency(), places) if arch.avg_embedding else places


def _mlp_layer(places: Tensor, weights: Weights, _heads: int) -> Tensor:
    """Each province sees itself and the mean of the board."""
    board = _linear(anp.mean(places, axis=1, keepdims=True), weights["board"])
    return _relu(_linear(places, weights["place"]) + board)


def _mlp_shapes(hidden: int) -> dict[str, tuple[int, int]]:
    return {"place": (hidden, hidden), "board": (hidden, hidden)}


def _transformer_layer(places: Tensor, weights: Weights, heads: int) -> Tensor:
    """Each province attends to all, then thinks for itself; both added to what it was.

    Vaswani et al., "Attention Is All You Need" (2017), normalised before each part as in Xiong et al., "On
    Layer Normalization in the Transformer Architecture" (2020); without biases and gains.
    """
    normal = _normalize(places)
    query, key, value = (_split(_linear(normal, weights[name]), heads) for name in ("query", "key", "value"))
    attention = _softmax(anp.matmul(query, anp.swapaxes(key, 2, 3)) * np.float32(query.shape[-1] ** -0.5))
    seen = anp.swapaxes(anp.matmul(attention, value), 1, 2).reshape(places.shape)
    places = places + _linear(seen, weights["seen"])
    return places + _linear(_relu(_linear(_normalize(places), weights["wide"])), weights["narrow"])


def _transformer_shapes(hidden: int) -> dict[str, tuple[int, int]]:
    square = dict.fromkeys(("query", "key", "value", "seen"), (hidden, hidden))
    return square | {"wide": (hidden, 2 * hidden), "narrow": (2 * hidden, hidden)}


#: Encoder -> its layer, and the shapes of that layer's weights.
_LAYERS: dict[str, Any] = {
    "mlp": (_mlp_layer, _mlp_shapes),
    "transformer": (_transformer_layer, _transformer_shapes),
}


def _split(places: Tensor, heads: int) -> Tensor:
    """(positions, provinces, hidden) -> (positions, heads, provinces, hidden / heads)"""
    return anp.swapaxes(places.reshape(*places.shape[:2], heads, -1), 1, 2)


def _linear(x: Tensor, weight: Array) -> Tensor:
    """x @ weight as one product of two matrices: numpy's dot of more dimensions does without BLAS."""
    return anp.dot(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], weight.shape[1])


def _relu(x: Tensor) -> Tensor:
    return x * (x > 0)  # Half the time of maximum, whose gradient looks for ties.


@primitive  # type: ignore[untyped-decorator]
def _softmax(x: Array) -> Array:
    """Softmax of the last axis. A primitive of its own: its gradient passes over the attention only twice."""
    weights: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def _softmax_vjp(weights: Array, _x: Array) -> Any:
    def vjp(gradient: Array) -> Tensor:
        return weights * (gradient - np.sum(gradient * weights, axis=-1, keepdims=True))

    return vjp


defvjp(_softmax, _softmax_vjp)


def _normalize(x: Tensor) -> Tensor:
    centred = x - anp.mean(x, axis=-1, keepdims=True)
    return centred / anp.sqrt(anp.mean(centred * centred, axis=-1, keepdims=True) + np.float32(1e-5))


@primitive  # type: ignore[untyped-decorator]
def take_rows(x: Array, rows: Array) -> Array:
    """Returns x[rows]. Autograd's own indexing adds up gradients an element at a time: 20 times slower."""
    return x[rows]


def _take_rows_vjp(_result: Array, x: Array, rows: Array) -> Any:
    order = np.argsort(rows, kind="stable")
    present, starts = np.unique(rows[order], return_index=True)

    def vjp(gradient: Array) -> Array:
        total = np.zeros_like(x)
        total[present] = np.add.reduceat(gradient[order], starts, axis=0)
        return total

    return vjp


defvjp(take_rows, _take_rows_vjp, argnums=(0,))


@dataclass(frozen=True)
class Model:
    """A trained policy."""

    arch: Architecture
    weights: Weights

    def scores(self, board: Array, orders: Array) -> Array:
        """Returns the score of each order at one position: (orders,)."""
        rows = np.zeros(len(orders), np.int64)
        return np.asarray(score_orders(self.arch, self.weights, board[None], orders, rows))


def save_model(model: Model, path: Path) -> None:
    """Writes the model as JSON, whole."""
    weights = {name: {"shape": w.shape, "values": _short_floats(w)} for name, w in model.weights.items()}
    text = json.dumps({"features": FEATURES, "architecture": asdict(model.arch), "weights": weights})
    write_text(path, text + "\n")


def load_model(path: Path) -> Model:
    """Returns the model that `save_model` wrote; raises ValueError if the file is none, or one of
    other features than today's."""
    try:
        content = json.loads(path.read_text())
        arch = Architecture(**content["architecture"])
        weights = {
            name: np.array(w["values"], np.float32).reshape(w["shape"])
            for name, w in content["weights"].items()
        }
        features = tuple(content["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a model that train wrote ({error!r})") from None
    if features != FEATURES:
        raise ValueError(f"{path}: trained on other features than this code has; train it anew")
    return Model(arch, weights)


def _short_floats(array: Array) -> list[float]:
    """The shortest decimals that give the same float32 back."""
    return [float(str(value)) for value in array.ravel()]
