"""A descriptor in plain NumPy: one einsum a path, rows gathered before and added after."""

from __future__ import annotations

from typing import Any

import numpy as np

OWN, SHARED, INDEXED = 0, 1, 2


def polynomial(*arrays: Any, descriptor: Any, access: Any) -> np.ndarray:
    """out[seg] += einsum(subscripts, x[seg], …, C) for every path; `arrays` are the operands, their indices, that of the output."""
    count = len(descriptor.inputs)
    operands, indices = arrays[:count], arrays[count:]
    lengths = [len(i) for i, mode in zip(indices, access.modes) if mode == INDEXED]
    lengths += [len(o) for o, mode in zip(operands, access.modes) if mode == OWN]
    rows = (lengths or [1])[0]
    gathered = []
    for operand, index, mode in zip(operands, indices, access.modes):
        operand = np.asarray(operand, np.float64)
        gathered.append(operand[index] if mode == INDEXED else np.broadcast_to(operand, (rows, operand.shape[1])))
    out = np.zeros((rows, descriptor.output.size))
    for product in descriptor.products:
        letters, extra = product.letters
        inputs = ",".join(f"Z{text}" for text in letters[:-1])
        for row, coefficients in zip(product.segments.tolist(), product.coefficients):
            segments = [descriptor.operands[o].segments[s] for o, s in zip(product.operands, row)]
            blocks = [gathered[o][:, s.places] for o, s in zip(product.operands[:-1], segments)]
            value = np.einsum(f"{inputs},{extra}->Z{letters[-1]}", *blocks, np.asarray(coefficients))
            out[:, segments[-1].places] += value
    if access.modes[-1] != INDEXED:
        return out
    sums = np.zeros((access.size_out, descriptor.output.size))
    np.add.at(sums, indices[-1], out)
    return sums
