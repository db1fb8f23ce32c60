"""The readable definition of the symmetric contraction; see oracle.py."""

from __future__ import annotations

import numpy as np


def symmetric_contraction_vjp(inputs, params):
    """out[n,c,m] = sum_k w[z_n,k,c] sum_mono U[k,m,mono] prod_i x[n,c,i], and the gradients of sum(grad * out).

    Monomial by monomial in NumPy, with the couplings of `valence.equivariant`, which the tests compare with mace-torch's.
    """
    from valence.equivariant import Irreps
    from valence.equivariant.couplings import full_couplings, monomials

    x, w, g = (inputs[n].astype(np.float64) for n in ("x", "weights", "grad"))
    parts, outs = (Irreps(" + ".join(params[n]), "O3_e3nn") for n in ("irreps_in", "irreps_out"))
    each = w[inputs["z"]]  # [N, K, C]
    out, gx, gw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(each)
    row = place = 0
    for _, ir in outs:
        for degree in range(params["degree"], 0, -1):
            u = full_couplings(parts, ir, degree, convention="e3nn04")  # [K, 2l+1, monomials]
            for m, mono in zip(*np.nonzero((u != 0).any(axis=0))):
                k = np.flatnonzero(u[:, m, mono])
                coefficient = np.einsum("k,nkc->nc", u[k, m, mono], each[:, row + k])
                factors = [x[..., i] for i in monomials(x.shape[2], degree)[mono]]
                value, t = np.prod(factors, axis=0), g[..., place + m]
                out[..., place + m] += coefficient * value
                gw[:, row + k] += u[k, m, mono][:, None] * (t * value)[:, None]
                for q, i in enumerate(monomials(x.shape[2], degree)[mono]):
                    others = factors[:q] + factors[q + 1 :]
                    gx[..., i] += t * coefficient * (np.prod(others, axis=0) if others else 1.0)
            row += len(u)
        place += ir.dim
    sums = np.zeros_like(w)
    np.add.at(sums, inputs["z"], gw)
    return {"values": out, "grad_x": gx, "grad_weights": sums}


OPERATIONS = {"symmetric_contraction_vjp": symmetric_contraction_vjp}
