//! Launcher of the products: forward, vjp and second vjp of the five forms, in the order of rust/core/src/equivariant/product.rs.

use valence_core::basis::Normalization;
use valence_core::basis::harmonics::Harmonics;
use valence_core::{Error, Result};

use super::coupling::Coupling;
use super::dense::{Dense, Groups, THREADS, Term, blocks, lanes};
use crate::basis::harmonics;
use crate::plan::{Builder, Memory, Shapes};
use crate::source::Unit;
use Memory::{Input, Null, Output};

/// What an op has beside x and y.
#[derive(Clone, Copy)]
pub struct Form {
    pub fused: bool,
    pub weighted: bool,
    pub scatter: bool,
}

pub fn form(family: &str) -> Option<Form> {
    let [fused, weighted, scatter] = match family {
        "tensor_product_simple" => [false, false, false],
        "tensor_product" => [false, true, false],
        "fused_sh_tp_simple" => [true, false, false],
        "fused_sh_tp_scatter" => [true, false, true],
        "fused_message_passing" => [true, true, true],
        _ => return None,
    };
    Some(Form { fused, weighted, scatter })
}

/// Largest degree whose straight-line text the compiler takes in seconds and keeps in registers.
const LARGEST: f64 = 4.0;

struct Product {
    form: Form,
    lmax: [usize; 3],
    rows: usize,
    num_x: usize,
    num_out: usize,
    c: usize,
    d: usize,
    x: Memory,
    y: Memory,
    w: Option<Memory>,
    source: Memory,
    target: Memory,
    /// Position of the first operand after the op's own inputs.
    next: usize,
}

impl Product {
    fn new(b: &mut Builder, form: Form, params: &[f64], shapes: &Shapes, out: &[usize]) -> Result<Self> {
        let degree = |l: f64| {
            let fits = (0.0..=LARGEST).contains(&l) && l.fract() == 0.0;
            fits.then_some(l as usize)
                .ok_or_else(|| Error::value("lmax", &format!("a whole number from 0 to {LARGEST} on a GPU"), l))
        };
        let &[l1, l2, l3, ..] = params else {
            return Err(Error::value("params", "3 degrees", params.len()));
        };
        let lmax = [degree(l1)?, degree(l2)?, degree(l3)?];
        let at = usize::from(form.fused);
        let index = 2 + usize::from(form.weighted);
        let rows = shapes.size(if form.fused { 0 } else { 1 }, 0);
        let mut product = Product {
            form,
            lmax,
            rows,
            num_x: shapes.size(at, 0),
            num_out: out.first().copied().unwrap_or(0),
            c: shapes.size(at, 1),
            d: out.get(1).copied().unwrap_or(0),
            x: Input(at),
            y: Input(1),
            w: form.weighted.then_some(Input(2)),
            source: if form.fused { Input(index) } else { Null },
            target: if form.scatter { Input(index + 1) } else { Null },
            next: index + usize::from(form.fused) + usize::from(form.scatter),
        };
        if form.fused && !product.is_empty() {
            product.y = b.scratch(rows * product.size(1));
            harmonics::forward(b, product.harmonics(), Input(0), product.y, rows)?;
        }
        Ok(product)
    }

    fn is_empty(&self) -> bool {
        self.c == 0 || self.d == 0 || self.rows == 0
    }

    fn size(&self, operand: usize) -> usize {
        (self.lmax[operand] + 1) * (self.lmax[operand] + 1)
    }

    fn harmonics(&self) -> Harmonics {
        let lmax = self.lmax[1];
        Harmonics { lmax, normalize: false, normalization: Normalization::Component, polar_y: true }
    }

    fn coupling(&self, back: bool) -> Coupling {
        Coupling { lmax: self.lmax, back }
    }

    /// Edges by the rows of the result; those need no sort unless they are summed.
    fn by_result(&self, b: &mut Builder, sorted: bool) -> Groups {
        let [order, ends] =
            if self.form.scatter && sorted { b.sort(self.next - 1, self.num_out) } else { [Null, Null] };
        Groups { count: self.num_out, order, ends, into: self.target, rows: self.source }
    }

    /// Edges by the rows of x.
    fn by_x(&self, b: &mut Builder) -> Groups {
        let index = self.next - 1 - usize::from(self.form.scatter);
        let [order, ends] = if self.form.fused { b.sort(index, self.num_x) } else { [Null, Null] };
        Groups { count: self.num_x, order, ends, into: self.source, rows: self.target }
    }

    /// Channels inside; an operand of one channel is so already.
    fn inside(&self, b: &mut Builder, x: Memory, operand: usize) -> Result<Memory> {
        let (rows, c) = if operand == 0 { (self.num_x, self.c) } else { (self.num_out, self.d) };
        if c <= 1 {
            return Ok(x);
        }
        let m = self.size(operand);
        let out = b.scratch(rows * c * m);
        b.launch(Unit::Inside, "inside", [rows, c.div_ceil(32), 1], THREADS).memory(&[x, out]).sizes(&[c, m])?;
        Ok(out)
    }

    /// sum over `terms` of their pairs' products, into `out`.
    fn product(&self, b: &mut Builder, back: bool, groups: &Groups, terms: &[Term], out: Memory) -> Result<()> {
        let (c, d) = if back { (self.d, self.c) } else { (self.c, self.d) };
        let coupling = self.coupling(back);
        if self.form.weighted {
            return Dense { coupling, c, d }.product(b, groups, terms, out);
        }
        let pairs = terms.iter().flat_map(|t| &t.pairs).enumerate();
        let grid = [blocks(groups.count * c), coupling.simple_stages(b.precision()).len(), 1];
        for (n, &(x, y)) in pairs {
            b.launch(Unit::Simple(coupling), "simple", grid, THREADS)
                .memory(&[x, y, groups.order, groups.ends, groups.rows, out])
                .sizes(&[groups.count, c, usize::from(n > 0)])?;
        }
        Ok(())
    }

    /// Towards y [rows, M2], of terms (x inside, weights).
    fn towards_y(
        &self,
        b: &mut Builder,
        groups: &Groups,
        terms: &[(Memory, Option<Memory>)],
        g: Memory,
        out: Memory,
    ) -> Result<()> {
        let coupling = self.coupling(false);
        if self.form.weighted {
            let terms: Vec<_> = terms.iter().map(|&(x, w)| (x, w.unwrap_or(Null))).collect();
            return Dense { coupling, c: self.c, d: self.d }.towards_y(b, groups, &terms, g, out, self.rows);
        }
        let g = self.inside(b, g, 2)?;
        let lanes = lanes(self.c);
        for (n, &(x, _)) in terms.iter().enumerate() {
            b.launch(Unit::Simple(coupling), "simple_towards_y", [blocks(self.rows * lanes), 1, 1], THREADS)
                .memory(&[x, g, groups.order, groups.into, groups.rows, out])
                .sizes(&[self.rows, self.c, lanes, usize::from(n > 0)])?;
        }
        Ok(())
    }

    fn towards_w(
        &self,
        b: &mut Builder,
        groups: &Groups,
        pairs: &[(Memory, Memory)],
        g: Memory,
        out: Memory,
    ) -> Result<()> {
        Dense { coupling: self.coupling(false), c: self.c, d: self.d }.towards_w(b, groups, pairs, g, out)
    }

    fn forward(&self, b: &mut Builder) -> Result<()> {
        let (groups, x) = (self.by_result(b, true), self.inside(b, self.x, 0)?);
        self.product(b, false, &groups, &[Term { pairs: vec![(x, self.y)], w: self.w }], Output(0))
    }

    fn backward(&self, b: &mut Builder) -> Result<()> {
        let g = Input(self.next);
        let [out_x, out_y] = if self.form.fused { [Output(1), Output(0)] } else { [Output(0), Output(1)] };
        let (groups, into_x) = (self.by_result(b, true), self.by_x(b));
        let (x, g_inside) = (self.inside(b, self.x, 0)?, self.inside(b, g, 2)?);
        self.product(b, true, &into_x, &[Term { pairs: vec![(g_inside, self.y)], w: self.w }], out_x)?;
        let grad_y = if self.form.fused { b.scratch(self.rows * self.size(1)) } else { out_y };
        self.towards_y(b, &groups, &[(x, self.w)], g, grad_y)?;
        if self.form.fused {
            harmonics::backward(b, self.harmonics(), [Input(0), grad_y, out_y], self.rows, false)?;
        }
        if self.form.weighted {
            self.towards_w(b, &groups, &[(x, self.y)], g, Output(2))?;
        }
        Ok(())
    }

    fn backward_twice(&self, b: &mut Builder) -> Result<()> {
        let (g, n) = (Input(self.next), self.next);
        let [out_x, out_y] = if self.form.fused { [Output(1), Output(0)] } else { [Output(0), Output(1)] };
        let [hx, hy] = if self.form.fused { [Input(n + 2), Input(n + 1)] } else { [Input(n + 1), Input(n + 2)] };
        let hw = self.form.weighted.then_some(Input(n + 3));
        let out_g = Output(2 + usize::from(self.form.weighted));
        let (groups, into_x) = (self.by_result(b, true), self.by_x(b));
        let (x, hx, gi) = (self.inside(b, self.x, 0)?, self.inside(b, hx, 0)?, self.inside(b, g, 2)?);
        let (y, w, size) = (self.y, self.w, self.rows * self.size(1));

        // Along h the harmonics move by their derivative, and the vjp of the harmonics by its own.
        let moved = if self.form.fused {
            let (grad_y, moved) = (b.scratch(size), b.scratch(size));
            self.towards_y(b, &groups, &[(x, w)], g, grad_y)?;
            harmonics::backward_twice(b, self.harmonics(), [Input(0), grad_y, hy, out_y, moved], self.rows)?;
            moved
        } else {
            hy
        };
        let mut to_x = vec![Term { pairs: vec![(gi, moved)], w }];
        let mut to_y = vec![(hx, w)];
        let mut to_g = vec![Term { pairs: vec![(hx, y), (x, moved)], w }];
        if self.form.weighted {
            to_x.push(Term { pairs: vec![(gi, y)], w: hw });
            to_y.push((x, hw));
            to_g.push(Term { pairs: vec![(x, y)], w: hw });
            self.towards_w(b, &groups, &[(hx, y), (x, moved)], g, Output(2))?;
        }
        self.product(b, true, &into_x, &to_x, out_x)?;
        self.product(b, false, &groups, &to_g, out_g)?;
        if self.form.fused {
            let grad_y = b.scratch(size);
            self.towards_y(b, &groups, &to_y, g, grad_y)?;
            return harmonics::backward(b, self.harmonics(), [Input(0), grad_y, out_y], self.rows, true);
        }
        self.towards_y(b, &groups, &to_y, g, out_y)
    }
}

pub fn plan(b: &mut Builder, form: Form, order: usize, params: &[f64], shapes: &Shapes) -> Result<()> {
    // The result, or its gradient, which follows the op's inputs.
    let after = 2 + [form.weighted, form.fused, form.scatter].into_iter().filter(|f| *f).count();
    let out = if order == 0 { shapes.outputs.first() } else { shapes.inputs.get(after) };
    let product = Product::new(b, form, params, shapes, out.map_or(&[], Vec::as_slice))?;
    if product.is_empty() {
        for (n, shape) in shapes.outputs.iter().enumerate() {
            b.zero(Output(n), shape.iter().product())?;
        }
        return Ok(());
    }
    match order {
        0 => product.forward(b),
        1 => product.backward(b),
        _ => product.backward_twice(b),
    }
}
