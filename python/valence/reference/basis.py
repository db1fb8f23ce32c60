"""Functions of edge vectors and distances in plain NumPy: textbook forms, not the kernels' recursions."""

from __future__ import annotations

from math import comb, factorial, pi, sqrt, tanh

import numpy as np


def spherical_harmonics(
    vector: np.ndarray,
    lmax: int,
    normalize: bool = True,
    normalization: str = "component",
    polar_axis: str = "y",
) -> np.ndarray:
    """Y_lm(v) = N_l^m Q_l^m(Z, r) (c_m or s_m)(X, Y), [E, 3] -> [E, (lmax + 1)^2].

    Q_m^m = (2m-1)!!, (l - m) Q_l^m = (2l-1) Z Q_{l-1}^m - (l+m-1) r^2 Q_{l-2}^m; N_l^m = sqrt(2 (2l+1) (l-m)! / (l+m)!).
    """
    r = np.sqrt((vector * vector).sum(axis=1, keepdims=True))
    is_zero = r < 1e-12
    if normalize:
        vector = np.where(is_zero, 0.0, vector / np.where(is_zero, 1.0, r))
    x, y, z = vector.T
    if polar_axis == "y":
        x, y, z = z, x, y
    r2 = x * x + y * y + z * z
    out = np.zeros((len(vector), (lmax + 1) ** 2))
    c, s = np.ones(len(vector)), np.zeros(len(vector))
    for m in range(lmax + 1):
        q = {m - 1: 0.0 * x, m: np.full_like(x, float(np.prod(np.arange(2 * m - 1, 0, -2))))}
        for l in range(m, lmax + 1):
            if l > m:
                q[l] = ((2 * l - 1) * z * q[l - 1] - (l + m - 1) * r2 * q[l - 2]) / (l - m)
            n = sqrt((2 if m else 1) * (2 * l + 1) * factorial(l - m) / factorial(l + m))
            n /= {"component": 1.0, "norm": sqrt(2 * l + 1), "integral": sqrt(4 * pi)}[normalization]
            out[:, l * l + l + m] = n * q[l] * c
            if m:
                out[:, l * l + l - m] = n * q[l] * s
        c, s = x * c - y * s, x * s + y * c
    return out


def _envelope(head: list[float], rc: float, r: np.ndarray) -> np.ndarray:
    code, p, lower, normalized = head
    x = r / rc
    if code == 1:
        return 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    if code == 2 and lower == 0:
        return (np.cos(pi * x) + 1) / 2
    if code == 2:
        return np.where(r > lower, (np.cos(pi * (2 * (r - lower) / (rc - lower) + 1)) + 1) / 2, 0.0)
    if code == 3:
        return np.tanh(1 - x) ** 3 / (tanh(1.0) ** 3 if normalized else 1.0)
    if code == 4:
        return np.exp(1 - 1 / (1 - x * x))
    if code == 5:
        z = (r - lower) / (rc - lower)
        inside = z > 0
        z = np.where(inside, z, 0.5)
        u = 1 / z - 1 / (1 - z)
        return np.where(inside, 0.5 * (1 + np.tanh(u / 2)), 1.0)
    return np.ones_like(r)


def _transform(head: list[float], r: np.ndarray, r0: np.ndarray) -> np.ndarray:
    code, q, p, a = head
    if code == 1:
        rho = r / r0
        return 1 / (1 + a * rho**p / (1 + rho ** (p - q)))
    if code == 2:
        low, high = 0.75 * r0, 4 / 3 * r0
        return low + (r - low) * (1 + np.tanh(q / (high - low) * (r - (low + high) / 2))) / 2
    return r


def _basis(code: float, n: int, rc: float, a: float, b: float, arrays: np.ndarray, x: np.ndarray) -> np.ndarray:
    x = x[:, None]
    first, second = arrays[:n], arrays[n:]
    if code == 0:
        return np.exp(second * (x - first) ** 2)
    if code == 1:
        return a * first * np.sinc(first * x / pi)
    if code == 2:
        k = np.arange(1, n + 1)
        inside = np.cos(k * np.arccos(np.clip(x, -1, 1)))
        return np.where(np.abs(x) <= 1, inside, np.cosh(k * np.arccosh(np.maximum(x, 1))))
    if code in (3, 4):
        y = x / rc if code == 3 else np.exp(-a * x)
        return np.concatenate([comb(n - 1, v) * y ** (n - 1 - v) * (1 - y) ** v for v in range(n)], axis=1)
    if code == 5:
        return np.exp(-second * (np.exp(a * (b - x)) - first) ** 2)
    return x if code == 7 else np.ones_like(x)


def radial_transformed(distance: np.ndarray, reference_distance: np.ndarray, spec: tuple[float, ...]) -> np.ndarray:
    """f_k(r) = b_k(T(r; r0)) c(r) below the cutoff, 0 from it on. `spec`: the list of `valence.RadialBasis.spec`."""
    code, count, rc, a, b = spec[:5]
    inside = distance < rc
    r = np.where(inside, distance, 0.5 * rc)
    x = _transform(list(spec[9:13]), r, reference_distance)
    values = _basis(code, int(count), rc, a, b, np.array(spec[13:]), x)
    return np.where(inside, _envelope(list(spec[5:9]), rc, r), 0.0)[:, None] * values


def radial(distance: np.ndarray, spec: tuple[float, ...]) -> np.ndarray:
    """The same without a transform, [E] -> [E, K]."""
    return radial_transformed(distance, np.ones_like(distance), spec)


def cutoff_envelope(distance: np.ndarray, spec: tuple[float, ...]) -> np.ndarray:
    """c(r) below the cutoff, 0 from it on, [E] -> [E]."""
    return radial(distance, spec)[:, 0]
