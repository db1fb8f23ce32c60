"""Our side of gradients of descriptors, and of SOAP in dscribe's polynomials; see ours_descriptors.py. The batch of
systems and the neighbour list are part of what is timed."""

from __future__ import annotations

from valence.bench.ours_descriptors import featomic_hypers, frames_of, soap_of_dscribe, systems_of, threads, timed


def soap_polynomial(inputs, params):
    return timed(inputs, params, lambda vl: soap_of_dscribe(vl, inputs, params, "polynomial"))


def vjp(make, wrt):
    """Gradients of sum(cotangent * values); they are compared as slopes along the workload's directions."""

    def prepare(inputs, params):
        vl = threads(params)
        descriptor, frames = make(vl, params), frames_of(inputs)
        cotangent, directions = inputs["cotangent"], inputs["direction"]

        def collect(gradients):
            return {f"slope_{name}": (directions * gradients[name]).sum(axis=(1, 2)) for name in wrt}

        return (lambda: descriptor.vjp(systems_of(vl, frames), cotangent, wrt=wrt)), collect

    return prepare


def soap(vl, params):
    return vl.Soap.from_featomic(featomic_hypers(params))


def anisoap(vl, params):
    return vl.AniSoap(
        cutoff=params["cutoff"], lmax=params["lmax"], width=params["width"], max_radial=params.get("nmax")
    )


CPU = {
    "soap_polynomial": soap_polynomial,
    "soap_vjp": vjp(soap, ("positions",)),
    "anisoap_vjp": vjp(anisoap, ("positions", "rotation_vector", "semiaxes")),
}
