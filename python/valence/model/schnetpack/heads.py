"""Dipoles, charges and polarizabilities from the last channels of a network.

Gated equivariant block (Weiler et al., NeurIPS 2018, as in PaiNN): [V, W] = v B^T, h = act([s, |V|] C1^T + c1) C2^T + c2;
its scalars are the first columns of h (through act but in the last block), its vectors the others times W.
"""

from __future__ import annotations

import numpy as np

from valence.model.schnetpack.config import Head
from valence.model.schnetpack.parts import Parts

__all__ = ["dipole", "polarizability"]


def _activation(kind: str, z: np.ndarray) -> np.ndarray:
    if kind == "tanh":
        return np.tanh(z)
    e = np.exp(-np.abs(z))
    if kind == "silu":
        return z * np.where(z < 0, e, 1) / (1 + e)
    softplus = np.where(z > 20, z, np.maximum(z, 0) + np.log1p(e))
    return softplus - np.asarray(np.log(2.0), z.dtype)


def _linear(parts: Parts, name: str, x: np.ndarray) -> np.ndarray:
    weight, bias = parts.weights[f"{name}.weight"], parts.weights[f"{name}.bias"]
    return x @ weight.T.astype(x.dtype) + bias.astype(x.dtype)


def _scalars(parts: Parts, head: Head, s: np.ndarray) -> np.ndarray:
    name, last = f"output_modules.{parts.outputs[head]}.outnet", len(head.widths) - 2
    for l in range(last + 1):
        s = _linear(parts, f"{name}.{l}", s)
        s = _activation(head.activation, s) if l < last else s
    return s[:, 0]


def _gated(parts: Parts, head: Head, s: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One scalar [N] and one vector [N, 3] of each atom."""
    name, last = f"output_modules.{parts.outputs[head]}.outnet", len(head.widths) - 2
    for l in range(last + 1):
        out = head.widths[l + 1]
        mixed = v @ parts.weights[f"{name}.{l}.mix_vectors.weight"].T.astype(v.dtype)
        first, second = mixed[..., :out], mixed[..., out:]
        norm = np.sqrt((first * first).sum(axis=1))
        hidden = _linear(parts, f"{name}.{l}.scalar_net.0", np.concatenate([s, norm], axis=1))
        hidden = _linear(parts, f"{name}.{l}.scalar_net.1", _activation(head.activation, hidden))
        s, v = hidden[:, :out], hidden[:, None, out:] * second
        s = _activation(head.activation, s) if l < last else s
    return s[:, 0], v[:, :, 0]


def dipole(parts: Parts, head: Head, s: np.ndarray, v: np.ndarray, batch, positions: np.ndarray):
    """Dipoles [B, 3] about the origin and charges [N], in float64; `positions` in the model's unit of length."""
    system, count = np.asarray(batch.system), len(batch)
    if parts.config.vector_dipole:
        charge, local = _gated(parts, head, s, v)
    else:
        charge, local = _scalars(parts, head, s), np.zeros_like(positions)
    charge = charge.astype(np.float64)
    if parts.config.correct_charges:
        # As schnetpack: systems without a charge are neutral.
        total = np.zeros(count) if batch.charge is None else np.asarray(batch.charge, np.float64)
        excess = (total - np.bincount(system, charge, count)) / np.maximum(np.asarray(batch.counts), 1)
        charge = charge + excess[system]
    each = charge[:, None] * positions + local
    columns = [np.bincount(system, each[:, a], count) for a in range(3)]
    return np.stack(columns, axis=1).astype(np.float64), charge


def polarizability(parts: Parts, head: Head, s: np.ndarray, v: np.ndarray, batch, positions: np.ndarray) -> np.ndarray:
    """[B, 3, 3]: sum of s I + t x^T + x t^T over the atoms, with absolute positions x."""
    system, count = np.asarray(batch.system), len(batch)
    scalar, vector = _gated(parts, head, s, v)
    outer = vector[:, :, None] * positions[:, None, :]
    each = scalar[:, None, None] * np.eye(3) + outer + outer.transpose(0, 2, 1)
    columns = [np.bincount(system, each.reshape(-1, 9)[:, k], count) for k in range(9)]
    return np.stack(columns, axis=1).reshape(count, 3, 3).astype(np.float64)
