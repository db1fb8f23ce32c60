//! What one call of an op does on a GPU: scratch memory and a list of launches, without touching one. A plan follows from
//! the op's name, parameters and shapes; [`crate::run`] carries it out, and the tests do so on the CPU through the shim.

use valence_core::{Error, Result};

use crate::source::{Precision, Unit};
use crate::{basis, edges, equivariant};

/// Whose memory an argument is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Input(usize),
    Output(usize),
    /// Of a sort: edges in the order of their groups.
    Order(usize),
    /// Of a sort: where each group begins, and the end.
    Ends(usize),
    /// Offset in the scratch memory, in bytes.
    Scratch(usize),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    Memory(Memory),
    Size(i32),
}

/// One kernel over a grid.
pub struct Launch {
    pub unit: Unit,
    pub kernel: &'static str,
    pub grid: [u32; 3],
    pub block: u32,
    pub arguments: Vec<Argument>,
}

/// Index operand `input` sorted stably into `groups`, which whoever has the arrays does with his own library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sort {
    pub input: usize,
    pub groups: usize,
}

pub struct Plan {
    pub precision: Precision,
    pub launches: Vec<Launch>,
    pub sorts: Vec<Sort>,
    /// Bytes.
    pub scratch: usize,
}

/// Shapes of inputs and outputs, as checked against the declaration.
pub struct Shapes<'a> {
    pub inputs: &'a [Vec<usize>],
    pub outputs: &'a [Vec<usize>],
}

impl Shapes<'_> {
    /// Axis `axis` of input `input`.
    pub fn size(&self, input: usize, axis: usize) -> usize {
        self.inputs.get(input).and_then(|s| s.get(axis)).copied().unwrap_or(0)
    }
}

/// Collects launches.
pub struct Builder {
    plan: Plan,
    /// Bytes that the product of a part of the groups may take.
    pub budget: usize,
    /// Scratch memory that any step may use and none leaves to the next, with its number of values.
    shared: (Memory, usize),
}

/// A launch that gets its arguments.
pub struct Open<'a> {
    builder: &'a mut Builder,
    unit: Unit,
    kernel: &'static str,
    grid: [usize; 3],
    block: usize,
    arguments: Vec<Argument>,
}

impl Open<'_> {
    pub fn memory(mut self, list: &[Memory]) -> Self {
        self.arguments.extend(list.iter().map(|&m| Argument::Memory(m)));
        self
    }

    /// The whole numbers, last; then the launch is complete. An empty grid is left out: CUDA refuses it.
    pub fn sizes(mut self, list: &[usize]) -> Result<()> {
        let too_large = |n: usize| Error::value("rows", "below 2^31 on a GPU", n);
        for &n in list {
            self.arguments.push(Argument::Size(i32::try_from(n).map_err(|_| too_large(n))?));
        }
        if self.grid.contains(&0) {
            return Ok(());
        }
        let [x, y, z] = self.grid;
        let x = i32::try_from(x).map_err(|_| too_large(x))? as u32;
        if y.max(z) > 65535 {
            return Err(Error::value("channels", "below 2^21 on a GPU", y.max(z)));
        }
        self.builder.plan.launches.push(Launch {
            unit: self.unit,
            kernel: self.kernel,
            grid: [x, y as u32, z as u32],
            block: self.block as u32,
            arguments: self.arguments,
        });
        Ok(())
    }
}

impl Builder {
    pub fn precision(&self) -> Precision {
        self.plan.precision
    }

    pub fn launch(&mut self, unit: Unit, kernel: &'static str, grid: [usize; 3], block: usize) -> Open<'_> {
        Open { builder: self, unit, kernel, grid, block, arguments: vec![] }
    }

    /// Scratch memory of this many values.
    pub fn scratch(&mut self, values: usize) -> Memory {
        let at = self.plan.scratch;
        self.plan.scratch = (at + values * self.plan.precision.bytes()).next_multiple_of(256);
        Memory::Scratch(at)
    }

    /// Scratch memory of at least this many values for one step of the plan: launches follow one another, so steps share it.
    pub fn shared(&mut self, values: usize) -> Memory {
        if values > self.shared.1 {
            self.shared = (self.scratch(values), values);
        }
        self.shared.0
    }

    /// (order, ends) of index operand `input` in `groups`.
    pub fn sort(&mut self, input: usize, groups: usize) -> [Memory; 2] {
        let sort = Sort { input, groups };
        let at = self.plan.sorts.iter().position(|s| *s == sort).unwrap_or_else(|| {
            self.plan.sorts.push(sort);
            self.plan.sorts.len() - 1
        });
        [Memory::Order(at), Memory::Ends(at)]
    }

    /// Fills a result with zeros.
    pub fn zero(&mut self, out: Memory, values: usize) -> Result<()> {
        self.launch(Unit::Zero, "zero", [values.div_ceil(256), 1, 1], 256).memory(&[out]).sizes(&[values])
    }
}

/// The families that have kernels: an op, its vjp and its second vjp.
pub const FAMILIES: [&str; 7] = [
    "edge_length",
    "spherical_harmonics",
    "tensor_product_simple",
    "tensor_product",
    "fused_sh_tp_simple",
    "fused_sh_tp_scatter",
    "fused_message_passing",
];

/// The plan of one call. `budget`: bytes for the intermediate product of a part of the groups.
pub fn plan(name: &str, params: &[f64], shapes: &Shapes, precision: Precision, budget: usize) -> Result<Plan> {
    let (family, order) = match (name.strip_suffix("_bwd_bwd"), name.strip_suffix("_bwd")) {
        (Some(family), _) => (family, 2),
        (None, Some(family)) => (family, 1),
        (None, None) => (name, 0),
    };
    let plan = Plan { precision, launches: vec![], sorts: vec![], scratch: 0 };
    let mut builder = Builder { plan, budget, shared: (Memory::Null, 0) };
    let b = &mut builder;
    match family {
        "edge_length" => edges::length::plan(b, order, shapes)?,
        "spherical_harmonics" => basis::harmonics::plan(b, order, params, shapes)?,
        _ => match equivariant::product::form(family) {
            Some(form) => equivariant::product::plan(b, form, order, params, shapes)?,
            None => {
                return Err(Error::value("device", &format!("cpu for {name}, which has no GPU kernel"), "cuda"));
            }
        },
    }
    Ok(builder.plan)
}
