"""symmetrix-xl (github.com/bonan-group/symmetrix-xl): its native serial evaluator on radial splines of element pairs, the
fastest of its paths on a CPU, in float64 and float32; with threads its Kokkos evaluator on the same file. By its ASE
calculator, a list at each call."""

import numpy as np

PACKAGES = ["symmetrix-xl"]


def network(use_kokkos, dtype=None):
    def prepare(inputs, params):
        from ase import Atoms
        from symmetrix import Symmetrix

        atoms = Atoms(inputs["numbers"], inputs["positions"], cell=inputs["cell"][0], pbc=inputs["pbc"][0])
        if not inputs["pbc"].any():
            atoms.center(vacuum=10.0)  # its list wants a cell
        calculator = Symmetrix(
            f"{inputs['model']}-{inputs['name']}.json",
            dtype=dtype or str(inputs["precision"].dtype),
            use_kokkos=use_kokkos,
            streamed_edges="non-compiled",
            neighbor_skin=0.0,
        )
        periodic, n = bool(inputs["pbc"].all()), len(atoms)
        wanted = ["energy", "forces", "stress"] if periodic else ["energy", "forces"]

        def call():
            calculator.calculate(atoms, wanted)
            return calculator.results

        def collect(result):
            made = {"energy": np.array([result["energy"] / n]), "forces": np.asarray(result["forces"])}
            if periodic:
                stress = np.asarray(result["stress"])[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
                made["virial"] = stress.reshape(3, 3) * (atoms.get_volume() / n)
            return made

        return call, collect

    return prepare


FIRST = """
import json, sys
import numpy as np
from ase import Atoms
from symmetrix import Symmetrix
with np.load(sys.argv[1]) as f:
    atoms = Atoms(f["numbers"], f["positions"], cell=f["cell"][0], pbc=f["pbc"][0])
    model, dtype = f"{f['model']}-{f['name']}.json", str(f["precision"].dtype)
atoms.calc = Symmetrix(model, dtype=dtype, use_kokkos=False, streamed_edges="non-compiled", neighbor_skin=0.0)
print(json.dumps({"energy": [atoms.get_potential_energy() / len(atoms)]}))
"""

BACKENDS = {
    "symmetrix": {"mace": network(False), "mace_start": FIRST},
    "symmetrix-f64": {"mace": network(False, "float64")},
    "symmetrix-kokkos": {"mace": network(True)},
}
