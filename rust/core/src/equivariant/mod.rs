//! Couplings of features that turn with the frame: Clebsch-Gordan coefficients and tensor products.

mod contract;
pub mod coupling;
mod dense;
pub(crate) mod matmul;
mod paths;
pub mod polynomial;
mod product;
mod rows;
mod simple;
mod sums;
mod table;
mod tile;

use crate::basis::lanes::Simd;
use crate::call::Kernel;
use product::{Form, backward, backward_twice, forward};

const SIMPLE: Form = Form { fused: false, weighted: false, scatter: false };
const WEIGHTED: Form = Form { fused: false, weighted: true, scatter: false };
const FUSED: Form = Form { fused: true, weighted: false, scatter: false };
const SCATTERED: Form = Form { fused: true, weighted: false, scatter: true };
const MESSAGES: Form = Form { fused: true, weighted: true, scatter: true };

/// The differentiable ops of this room.
pub fn kernels<T: Simd>() -> Vec<(&'static str, Kernel<T>)> {
    vec![
        ("polynomial_1", |c| polynomial::forward(1, c)),
        ("polynomial_1_bwd", |c| polynomial::backward(1, c)),
        ("polynomial_1_bwd_bwd", |c| polynomial::backward_twice(1, c)),
        ("polynomial_2", |c| polynomial::forward(2, c)),
        ("polynomial_2_bwd", |c| polynomial::backward(2, c)),
        ("polynomial_2_bwd_bwd", |c| polynomial::backward_twice(2, c)),
        ("polynomial_3", |c| polynomial::forward(3, c)),
        ("polynomial_3_bwd", |c| polynomial::backward(3, c)),
        ("polynomial_3_bwd_bwd", |c| polynomial::backward_twice(3, c)),
        ("tensor_product_simple", |c| forward(SIMPLE, c)),
        ("tensor_product_simple_bwd", |c| backward(SIMPLE, c)),
        ("tensor_product_simple_bwd_bwd", |c| backward_twice(SIMPLE, c)),
        ("tensor_product", |c| forward(WEIGHTED, c)),
        ("tensor_product_bwd", |c| backward(WEIGHTED, c)),
        ("tensor_product_bwd_bwd", |c| backward_twice(WEIGHTED, c)),
        ("fused_sh_tp_simple", |c| forward(FUSED, c)),
        ("fused_sh_tp_simple_bwd", |c| backward(FUSED, c)),
        ("fused_sh_tp_simple_bwd_bwd", |c| backward_twice(FUSED, c)),
        ("fused_sh_tp_scatter", |c| forward(SCATTERED, c)),
        ("fused_sh_tp_scatter_bwd", |c| backward(SCATTERED, c)),
        ("fused_sh_tp_scatter_bwd_bwd", |c| backward_twice(SCATTERED, c)),
        ("fused_message_passing", |c| forward(MESSAGES, c)),
        ("fused_message_passing_bwd", |c| backward(MESSAGES, c)),
        ("fused_message_passing_bwd_bwd", |c| backward_twice(MESSAGES, c)),
    ]
}
