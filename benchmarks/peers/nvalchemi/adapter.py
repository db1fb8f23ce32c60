"""nvalchemi-toolkit-ops (NVIDIA): its torch neighbour list on the CPU, as a list, with vectors and distances by torch.

Warp compiles its kernels at the first call (kept in its cache), which the warm-up swallows. `max_neighbors` is given, with
a fifth to spare, so that its own estimate does not enlarge the matrix behind the list.
"""

import numpy as np

PACKAGES = ["nvalchemi-toolkit-ops", "warp-lang", "torch"]


def neighbor_list(inputs, params):
    import torch
    import warp
    from nvalchemiops.torch.neighbors import neighbor_list as search

    warp.config.quiet = True
    torch.set_num_threads(params["threads"])
    cutoff, offsets = float(params["cutoff"]), inputs["offsets"]
    x = torch.from_numpy(inputs["positions"])
    is_open = not inputs["pbc"].any()
    arguments = {"cutoff": cutoff, "return_neighbor_list": True}
    cell = torch.from_numpy(inputs["cell"]).to(x.dtype)
    if not is_open:
        arguments |= {"cell": cell, "pbc": torch.from_numpy(inputs["pbc"])}
    if len(offsets) > 2:
        counts = torch.from_numpy(np.diff(offsets))
        arguments["batch_idx"] = torch.repeat_interleave(torch.arange(len(counts), dtype=torch.int32), counts)
        arguments["batch_ptr"] = torch.from_numpy(offsets.astype(np.int32))

    def call():
        found = search(x, **arguments)
        i, j = found[0].long()
        if is_open:
            shift = torch.zeros((len(i), 3), dtype=torch.int32)
            vector = x[j] - x[i]
        else:
            shift = found[2]
            vector = x[j] - x[i] + shift.to(x.dtype) @ cell[0]
        return i, j, shift, vector, torch.linalg.norm(vector, dim=1)

    names = ("source", "target", "shift", "vector", "distance")
    return call, lambda out: {k: v.numpy() for k, v in zip(names, out, strict=True)}


BACKENDS = {"nvalchemi": {"neighbor_list": neighbor_list}}
