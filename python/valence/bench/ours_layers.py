"""Our side of the timed layers: channel-wise products along edges, linear maps; see ours.py."""

from __future__ import annotations

from valence.bench import layer
from valence.bench.ours_equivariant import gradients, setup, values


def channelwise(inputs, params):
    from valence import equivariant as eq

    setup(inputs, params)
    descriptor = eq.channelwise_tensor_product(params["irreps1"], params["irreps2"], params["irreps_out"])
    operands, indices = [inputs[n] for n in ("weights", "x", "y")], {"x": inputs["source"], "out": inputs["target"]}
    nodes = len(inputs["x"])
    return (lambda: descriptor(*operands, indices=indices, size_out=nodes)), values


def channelwise_vjp(inputs, params):
    from valence import equivariant as eq

    _, ops, t = setup(inputs, params)
    descriptor = eq.channelwise_tensor_product(params["irreps1"], params["irreps2"], params["irreps_out"])
    indices, nodes = {"x": t["source"], "out": t["target"]}, len(t["x"])

    def call():
        return ops.polynomial(descriptor, t["weights"], t["x"], t["y"], indices=indices, size_out=nodes)

    return gradients(call, t, ("weights", "x", "y"), t["grad"])


def linear_in(layout):
    """The map in one layout; the other is turned before and after the timed call."""

    def prepare(inputs, params):
        from valence import equivariant as eq

        setup(inputs, params)
        irreps = eq.Irreps(params["irreps"])
        descriptor = eq.linear(irreps, irreps, layout=layout)
        x = eq.mul_ir_to_ir_mul(irreps, inputs["x"]) if layout == "ir_mul" else inputs["x"]
        back = values if layout == "mul_ir" else lambda out: values(eq.ir_mul_to_mul_ir(irreps, out))
        return (lambda: descriptor(inputs["weights"], x)), back

    return prepare


def linear_by_element(inputs, params):
    from valence import equivariant as eq

    setup(inputs, params)
    descriptor, elements = eq.linear(params["irreps"], params["irreps"]), {"weight": inputs["elements"]}
    return (lambda: descriptor(inputs["weights"], inputs["x"], indices=elements)), values


CPU = {
    "channelwise": channelwise,
    "channelwise_vjp": channelwise_vjp,
    "mace_layer": layer.ours,
    "linear": linear_in("mul_ir"),
    "linear_by_element": linear_by_element,
}
INSIDE = {"linear": linear_in("ir_mul")}
