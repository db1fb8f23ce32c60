//! Values of comment lines, gathered over frames.

/// One value of a comment line.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    Real(f64),
    Bool(bool),
    Text(String),
    /// JSON text, as ASE writes what has no other form.
    Json(String),
    /// Arrays with their shape; a vector has one length.
    Ints(Vec<i64>, Vec<usize>),
    Reals(Vec<f64>, Vec<usize>),
    Bools(Vec<bool>, Vec<usize>),
}

/// One key over all frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    pub name: String,
    /// Shape of one frame's value; empty for a scalar.
    pub shape: Vec<usize>,
    pub values: InfoValues,
}

/// Values of one key, frame after frame.
#[derive(Debug, Clone, PartialEq)]
pub enum InfoValues {
    /// NaN where a frame has none.
    Real(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    /// Values of several kinds or shapes, or texts; None where a frame has none.
    Mixed(Vec<Option<Value>>),
}

/// Values of one key as they come, with the frame of each.
pub struct Gather {
    pub name: String,
    values: Vec<(usize, Value)>,
}

impl Gather {
    pub fn new(name: String) -> Self {
        Gather { name, values: Vec::new() }
    }

    pub fn push(&mut self, frame: usize, value: Value) {
        match self.values.last_mut() {
            Some((last, old)) if *last == frame => *old = value,
            _ => self.values.push((frame, value)),
        }
    }

    /// One array if all values are numbers (or all logicals) of one shape, else the values themselves.
    pub fn finish(self, num_frames: usize) -> Info {
        let shapes_agree = self.values.windows(2).all(|w| shape(&w[0].1) == shape(&w[1].1));
        let of_kind = |test: fn(&Value) -> bool| self.values.iter().all(|(_, v)| test(v));
        let all_there = self.values.len() == num_frames;
        let ints = of_kind(|v| matches!(v, Value::Int(_) | Value::Ints(..)));
        let numbers = of_kind(|v| matches!(v, Value::Int(_) | Value::Ints(..) | Value::Real(_) | Value::Reals(..)));
        let bools = of_kind(|v| matches!(v, Value::Bool(_) | Value::Bools(..)));
        let row = self.values.first().map(|(_, v)| shape(v).to_vec()).unwrap_or_default();
        let width: usize = row.iter().product();
        // Named by ASE as results of a calculator: reals, however a file spells them.
        let is_real =
            matches!(self.name.as_str(), "energy" | "free_energy" | "stress" | "virial" | "dipole" | "charge");
        if shapes_agree && ints && all_there && !is_real {
            let flat = self.values.into_iter().flat_map(|(_, v)| match v {
                Value::Int(x) => vec![x],
                Value::Ints(x, _) => x,
                _ => Vec::new(),
            });
            return Info { name: self.name, shape: row, values: InfoValues::Int(flat.collect()) };
        }
        if shapes_agree && bools && all_there {
            let flat = self.values.into_iter().flat_map(|(_, v)| match v {
                Value::Bool(x) => vec![x],
                Value::Bools(x, _) => x,
                _ => Vec::new(),
            });
            return Info { name: self.name, shape: row, values: InfoValues::Bool(flat.collect()) };
        }
        if shapes_agree && numbers && (!ints || is_real) {
            let mut flat = vec![f64::NAN; num_frames * width];
            for (frame, value) in self.values {
                let out = &mut flat[frame * width..(frame + 1) * width];
                match value {
                    Value::Int(x) => out[0] = x as f64,
                    Value::Real(x) => out[0] = x,
                    Value::Ints(x, _) => out.iter_mut().zip(x).for_each(|(o, x)| *o = x as f64),
                    Value::Reals(x, _) => out.copy_from_slice(&x),
                    _ => {}
                }
            }
            return Info { name: self.name, shape: row, values: InfoValues::Real(flat) };
        }
        let mut mixed = vec![None; num_frames];
        self.values.into_iter().for_each(|(frame, value)| mixed[frame] = Some(value));
        Info { name: self.name, shape: Vec::new(), values: InfoValues::Mixed(mixed) }
    }
}

fn shape(value: &Value) -> &[usize] {
    match value {
        Value::Ints(_, s) | Value::Reals(_, s) | Value::Bools(_, s) => s,
        _ => &[],
    }
}
