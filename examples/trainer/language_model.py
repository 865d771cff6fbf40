"""A small GPT over bytes in plain numpy: attention and a wide layer in turn, with gradients written by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Parameters = dict[str, Array]
VOCABULARY = 256  # every byte is a token
EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    layers: int
    hidden: int
    heads: int
    positions: int


def new_parameters(shape: Shape, seed: int, std: float) -> Parameters:
    """Return random weights, those that write into the residual stream smaller by the depth."""
    random = np.random.default_rng((seed, 0))
    hidden, into = shape.hidden, std / math.sqrt(2 * shape.layers)
    made = {
        "embedding": random.normal(0, std, (VOCABULARY, hidden)),
        "position": random.normal(0, std, (shape.positions, hidden)),
        "final_norm": np.ones(hidden),
    }
    for layer in range(shape.layers):
        made |= {
            f"layers.{layer}.attention_norm": np.ones(hidden),
            f"layers.{layer}.qkv": random.normal(0, std, (hidden, 3 * hidden)),
            f"layers.{layer}.projection": random.normal(0, into, (hidden, hidden)),
            f"layers.{layer}.mlp_norm": np.ones(hidden),
            f"layers.{layer}.up": random.normal(0, std, (hidden, 4 * hidden)),
            f"layers.{layer}.down": random.normal(0, into, (4 * hidden, hidden)),
        }
    return made


class Pass:
    """One way through the model; gradients of a backward pass are added to `gradients`."""

    def __init__(self, parameters: Parameters, shape: Shape) -> None:
        self.parameters, self.shape = parameters, shape
        self.gradients: Parameters = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._kept: list[tuple[Array, ...]] = []

    def loss(self, tokens: Array, targets: Array) -> tuple[float, float]:
        """Return cross entropy in nats and accuracy, both means over tokens; both arrays are (batch, length)."""
        p, length = self.parameters, tokens.shape[1]
        x = p["embedding"][tokens] + p["position"][:length]
        for layer in range(self.shape.layers):
            x = x + self._attention(x, f"layers.{layer}.")
            x = x + self._mlp(x, f"layers.{layer}.")
        out = self._norm(x, "final_norm")
        logits = out @ p["embedding"].T
        logits -= logits.max(-1, keepdims=True)
        likely = np.exp(logits)
        likely /= likely.sum(-1, keepdims=True)
        chosen = np.take_along_axis(likely, targets[..., None], -1)[..., 0]
        self._kept.append((tokens, targets, out, likely))
        return float(-np.log(chosen).mean()), float((logits.argmax(-1) == targets).mean())

    def backward(self, share: float = 1.0) -> None:
        """Add the gradients of `share` times the loss of the pass before."""
        p, g = self.parameters, self.gradients
        tokens, targets, out, likely = self._kept.pop()
        wrong = likely
        np.put_along_axis(wrong, targets[..., None], np.take_along_axis(likely, targets[..., None], -1) - 1, -1)
        wrong *= share / targets.size
        g["embedding"] += _outer(wrong, out)
        dx = self._norm_back(wrong @ p["embedding"], "final_norm")
        for layer in reversed(range(self.shape.layers)):
            dx = dx + self._mlp_back(dx, f"layers.{layer}.")
            dx = dx + self._attention_back(dx, f"layers.{layer}.")
        np.add.at(g["embedding"], tokens, dx)
        g["position"][: tokens.shape[1]] += dx.sum(0)

    def _norm(self, x: Array, name: str) -> Array:
        scale = 1 / np.sqrt(np.square(x).mean(-1, keepdims=True) + EPSILON)
        self._kept.append((x, scale))
        return x * scale * self.parameters[name]

    def _norm_back(self, dy: Array, name: str) -> Array:
        x, scale = self._kept.pop()
        self.gradients[name] += (dy * x * scale).sum((0, 1))
        weighted = dy * self.parameters[name]
        return scale * weighted - x * scale**3 * (weighted * x).mean(-1, keepdims=True)

    def _mlp(self, x: Array, name: str) -> Array:
        before = self._norm(x, f"{name}mlp_norm")
        wide = np.maximum(before @ self.parameters[f"{name}up"], 0)
        self._kept.append((before, wide))
        return wide @ self.parameters[f"{name}down"]

    def _mlp_back(self, dy: Array, name: str) -> Array:
        before, wide = self._kept.pop()
        self.gradients[f"{name}down"] += _outer(wide, dy)
        dwide = (dy @ self.parameters[f"{name}down"].T) * (wide > 0)
        self.gradients[f"{name}up"] += _outer(before, dwide)
        return self._norm_back(dwide @ self.parameters[f"{name}up"].T, f"{name}mlp_norm")

    def _attention(self, x: Array, name: str) -> Array:
        before = self._norm(x, f"{name}attention_norm")
        q, k, v = self._heads(before @ self.parameters[f"{name}qkv"])
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        scores += np.triu(np.full(scores.shape[-2:], -np.inf), 1)
        scores -= scores.max(-1, keepdims=True)
        weights = np.exp(scores)
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).swapaxes(1, 2).reshape(x.shape)
        self._kept.append((before, q, k, v, weights, mixed))
        return mixed @ self.parameters[f"{name}projection"]

    def _attention_back(self, dy: Array, name: str) -> Array:
        before, q, k, v, weights, mixed = self._kept.pop()
        self.gradients[f"{name}projection"] += _outer(mixed, dy)
        dmixed = dy @ self.parameters[f"{name}projection"].T
        dmixed = dmixed.reshape(*dy.shape[:2], self.shape.heads, -1).swapaxes(1, 2)
        dweights = dmixed @ v.swapaxes(-1, -2)
        dscores = weights * (dweights - (dweights * weights).sum(-1, keepdims=True)) / math.sqrt(q.shape[-1])
        three = (dscores @ k, dscores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ dmixed)
        dqkv = np.concatenate([part.swapaxes(1, 2).reshape(dy.shape) for part in three], -1)
        self.gradients[f"{name}qkv"] += _outer(before, dqkv)
        return self._norm_back(dqkv @ self.parameters[f"{name}qkv"].T, f"{name}attention_norm")

    def _heads(self, qkv: Array) -> list[Array]:
        """Split (batch, length, 3 hidden) into q, k and v, each (batch, heads, length, hidden / heads)."""
        parts = np.split(qkv, 3, -1)
        return [part.reshape(*part.shape[:2], self.shape.heads, -1).swapaxes(1, 2) for part in parts]


def _outer(left: Array, right: Array) -> Array:
    """Return the sum over all tokens of left times right."""
    return left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])


class Adam:
    """Adam with decoupled weight decay; matrices decay, gains do not."""

    def __init__(self, parameters: Parameters, *, betas: tuple[float, float], epsilon: float, decay: float) -> None:
        self.betas, self.epsilon, self.decay = betas, epsilon, decay
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.steps = 0

    def step(self, parameters: Parameters, gradients: Parameters, lr: float) -> None:
        """Change the parameters in place."""
        self.steps += 1
        one, two = self.betas
        for name, value in parameters.items():
            first, second, gradient = self.first[name], self.second[name], gradients[name]
            first += (1 - one) * (gradient - first)
            second += (1 - two) * (np.square(gradient) - second)
            change = first / (1 - one**self.steps) / (np.sqrt(second / (1 - two**self.steps)) + self.epsilon)
            value -= lr * (change + (self.decay * value if value.ndim > 1 else 0))


def clip(gradients: Parameters, limit: float) -> float:
    """Scale all gradients so that their norm is `limit` at most (0: no limit); returns the norm before."""
    norm = math.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients.values()))
    if 0 < limit < norm:
        for gradient in gradients.values():
            gradient *= limit / norm
    return norm
