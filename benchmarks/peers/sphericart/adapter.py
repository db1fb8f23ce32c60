"""sphericart (github.com/lab-cosmo/sphericart) through NumPy, and its torch binding with autograd.

Its SphericalHarmonics normalises the vectors; its order (y, z, x at l = 1) and norm (orthonormal) are the canonical ones
of the workloads.
"""

PACKAGES = ["sphericart", "sphericart-torch", "torch"]


def spherical_harmonics(inputs, params):
    import sphericart

    v, harmonics = inputs["vectors"], sphericart.SphericalHarmonics(params["lmax"])
    return lambda: harmonics.compute(v), lambda y: {"values": y}


def torch_harmonics(inputs, params):
    import sphericart.torch
    import torch

    torch.set_num_threads(params["threads"])
    v, harmonics = torch.from_numpy(inputs["vectors"]), sphericart.torch.SphericalHarmonics(params["lmax"])
    return lambda: harmonics.compute(v), lambda y: {"values": y.numpy()}


def torch_harmonics_vjp(inputs, params):
    import sphericart.torch
    import torch

    torch.set_num_threads(params["threads"])
    v = torch.from_numpy(inputs["vectors"]).requires_grad_()
    grad = torch.from_numpy(inputs["grad"])
    harmonics = sphericart.torch.SphericalHarmonics(params["lmax"])

    def call():
        y = harmonics.compute(v)
        return y, torch.autograd.grad(y, v, grad)[0]

    return call, lambda out: {"values": out[0].detach().numpy(), "grad_vectors": out[1].numpy()}


BACKENDS = {
    "sphericart": {"spherical_harmonics": spherical_harmonics},
    "sphericart-torch": {
        "spherical_harmonics": torch_harmonics,
        "spherical_harmonics_vjp": torch_harmonics_vjp,
    },
}
