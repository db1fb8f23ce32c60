"""The readable definition of SchNet's and PaiNN's energies and forces in NumPy, float64; see formulas in the modules of the
native engine (rust/core/src/model/{schnet,painn}) and schnetpack 2.1."""

from __future__ import annotations

import numpy as np

from valence.bench.data_engine import CONFIG, MARK, weights_of


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1.0) / (1.0 + e)


def silu(z):
    s = sigmoid(z)
    return z * s, s * (1.0 + z * (1.0 - s))


def ssp(z):
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - np.log(2.0), sigmoid(z)


class Network:
    """Weights by name, edges, radial functions and their derivatives."""

    def __init__(self, inputs):
        self.w = {name: array.astype(np.float64) for name, array in weights_of(inputs).items()}
        i, j = (np.asarray(inputs[n]).astype(np.int64) for n in ("source", "target"))
        self.i, self.j, self.n = i, j, len(inputs["numbers"])
        system = np.repeat(np.arange(len(inputs["offsets"]) - 1), np.diff(inputs["offsets"]))
        x = np.asarray(inputs["positions"], np.float64)
        self.r = x[j] - x[i] + np.einsum("ea,eab->eb", inputs["shift"], inputs["cell"][system[i]])
        self.d = np.sqrt((self.r**2).sum(axis=1))
        self.u = self.r / self.d[:, None]
        mu, width = (self.w[f"representation.radial_basis.{n}"] for n in ("offsets", "widths"))
        gap = self.d[:, None] - mu
        self.f = np.exp(-0.5 * (gap / width) ** 2)
        self.df = -gap / width**2 * self.f
        angle = np.pi * self.d / CONFIG["cutoff"]
        self.c, self.dc = 0.5 * (np.cos(angle) + 1.0), -0.5 * np.pi / CONFIG["cutoff"] * np.sin(angle)
        self.q = self.w["representation.embedding.weight"][np.asarray(inputs["numbers"])]
        self.offsets = inputs["offsets"]

    def dense(self, name, x):
        bias = self.w.get(f"{name}.bias")
        y = x @ self.w[f"{name}.weight"].T
        return y if bias is None else y + bias

    def back(self, name, g):
        return g @ self.w[f"{name}.weight"]

    def sums(self, index, rows):
        out = np.zeros((self.n, *rows.shape[1:]))
        np.add.at(out, index, rows)
        return out

    def head(self, q):
        """Energies of the systems, and the gradient to q."""
        hidden, steep = silu(self.dense("output_modules.0.outnet.0", q))
        each = self.dense("output_modules.0.outnet.1", hidden)[:, 0]
        grad = self.back("output_modules.0.outnet.1", np.ones((self.n, 1))) * steep
        return np.add.reduceat(each, self.offsets[:-1]), self.back("output_modules.0.outnet.0", grad)

    def results(self, energy, grad):
        """Of the gradient to the edge vectors. Energies of one atom each, as their rounding grows with the sum."""
        forces = self.sums(self.i, grad) - self.sums(self.j, grad)
        return {"energy": energy / np.diff(self.offsets), "forces": forces}


def schnet(inputs, params):
    net, kept = Network(inputs), []
    x = net.q
    for l in range(CONFIG["n_interactions"]):
        name = f"representation.interactions.{l}"
        y = net.dense(f"{name}.in2f", x)
        h, hs = ssp(net.dense(f"{name}.filter_network.0", net.f))
        w0 = net.dense(f"{name}.filter_network.1", h)
        m = net.sums(net.i, y[net.j] * w0 * net.c[:, None])
        v, vs = ssp(net.dense(f"{name}.f2out.0", m))
        x = x + net.dense(f"{name}.f2out.1", v)
        kept.append((y, hs, w0, vs))
    energy, g = net.head(x)
    gd = np.zeros(len(net.d))
    for l, (y, hs, w0, vs) in reversed(list(enumerate(kept))):
        name = f"representation.interactions.{l}"
        gm = net.back(f"{name}.f2out.0", net.back(f"{name}.f2out.1", g) * vs)[net.i]
        gw = gm * y[net.j]
        slope = net.back(f"{name}.filter_network.1", gw * net.c[:, None]) * hs
        gd += (gw * w0).sum(axis=1) * net.dc + (net.back(f"{name}.filter_network.0", slope) * net.df).sum(axis=1)
        g = g + net.back(f"{name}.in2f", net.sums(net.j, gm * w0 * net.c[:, None]))
    return net.results(energy, gd[:, None] * net.u)


def painn(inputs, params):
    net, size = Network(inputs), 3 * CONFIG["n_atom_basis"]
    f0 = net.dense("representation.filter_net", net.f)
    fil, q, mu, kept = f0 * net.c[:, None], net.q, np.zeros((net.n, 3, size // 3)), []
    for l in range(CONFIG["n_interactions"]):
        name, mixing = f"representation.interactions.{l}", f"representation.mixing.{l}"
        h, hs = silu(net.dense(f"{name}.interatomic_context_net.0", q))
        t = net.dense(f"{name}.interatomic_context_net.1", h)
        x = fil[:, l * size : (l + 1) * size] * t[net.j]
        xq, xr, xm = np.split(x, 3, axis=1)
        q = q + net.sums(net.i, xq)
        before = mu
        mu = mu + net.sums(net.i, xr[:, None] * net.u[:, :, None] + xm[:, None] * mu[net.j])
        v, w = np.split(net.dense(f"{mixing}.mu_channel_mix", mu), 2, axis=2)
        norm = np.sqrt((v * v).sum(axis=1) + 1e-8)
        z, zs = silu(net.dense(f"{mixing}.intraatomic_context_net.0", np.concatenate([q, norm], axis=1)))
        s = np.split(net.dense(f"{mixing}.intraatomic_context_net.1", z), 3, axis=1)
        dot = (v * w).sum(axis=1)
        q = q + s[0] + s[2] * dot
        mu = mu + s[1][:, None] * w
        kept.append((hs, t, before, v, w, norm, zs, s, dot))
    energy, gq = net.head(q)
    gmu, gfil, gu = np.zeros_like(mu), np.zeros_like(fil), np.zeros_like(net.u)
    for l, (hs, t, before, v, w, norm, zs, s, dot) in reversed(list(enumerate(kept))):
        name, mixing = f"representation.interactions.{l}", f"representation.mixing.{l}"
        gs = np.concatenate([gq, (gmu * w).sum(axis=1), gq * dot], axis=1)
        context = net.back(f"{mixing}.intraatomic_context_net.1", gs) * zs
        context = net.back(f"{mixing}.intraatomic_context_net.0", context)
        cq, cn = np.split(context, 2, axis=1)
        share = (gq * s[2])[:, None]
        gv = share * w + (cn / norm)[:, None] * v
        gw = gmu * s[1][:, None] + share * v
        gq = gq + cq
        gmu = gmu + net.back(f"{mixing}.mu_channel_mix", np.concatenate([gv, gw], axis=2))
        part = slice(l * size, (l + 1) * size)
        g3, along = gmu[net.i], (gmu[net.i] * net.u[:, :, None]).sum(axis=1)
        gx = np.concatenate([gq[net.i], along, (g3 * before[net.j]).sum(axis=1)], axis=1)
        _, xr, xm = np.split(fil[:, part] * t[net.j], 3, axis=1)
        gfil[:, part] = gx * t[net.j]
        gt = net.sums(net.j, gx * fil[:, part])
        gu += (g3 * xr[:, None]).sum(axis=2)
        gmu = gmu + net.sums(net.j, g3 * xm[:, None])
        gt = net.back(f"{name}.interatomic_context_net.1", gt) * hs
        gq = gq + net.back(f"{name}.interatomic_context_net.0", gt)
    slope = net.back("representation.filter_net", gfil * net.c[:, None])
    gd = (gfil * f0).sum(axis=1) * net.dc + (slope * net.df).sum(axis=1)
    turn = gu - net.u * (gu * net.u).sum(axis=1)[:, None]
    return net.results(energy, gd[:, None] * net.u + turn / net.d[:, None])


def by_parts(network):
    """The network on 25 systems at a time: what it makes of an edge takes kilobytes."""

    def run(inputs, params):
        offsets, parts = np.asarray(inputs["offsets"]), []
        fixed = {k: v for k, v in inputs.items() if k.startswith(MARK)}
        for first in range(0, len(offsets) - 1, 25):
            ends = offsets[first : first + 26]
            atoms, systems = slice(ends[0], ends[-1]), slice(first, first + len(ends) - 1)
            own = np.flatnonzero((inputs["source"] >= ends[0]) & (inputs["source"] < ends[-1]))
            edges = {k: np.asarray(inputs[k])[own] - (0 if k == "shift" else ends[0]) for k in EDGES}
            rows = {k: np.asarray(inputs[k])[atoms] for k in ("positions", "numbers")}
            part = {"offsets": ends - ends[0], "cell": np.asarray(inputs["cell"])[systems], **rows, **edges, **fixed}
            parts.append(network(part, params))
        return {k: np.concatenate([p[k] for p in parts]) for k in ("energy", "forces")}

    return run


EDGES = ("source", "target", "shift")
OPERATIONS = {"schnet": by_parts(schnet), "painn": by_parts(painn)}
