//! What a file holds: frames one after another, one array a column.

use super::info::Info;
use crate::error::{Error, Result};

/// Frames of a file, B of them, with N atoms in all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frames {
    /// Atoms of frame b are rows `offsets[b]..offsets[b + 1]`; B + 1 values.
    pub offsets: Vec<i64>,
    /// [N] atomic numbers.
    pub numbers: Vec<u8>,
    /// [N, 3] Angstrom.
    pub positions: Vec<f64>,
    /// [B, 3, 3] Angstrom, rows are lattice vectors; zeros where there is no cell.
    pub cell: Vec<f64>,
    /// [B, 3]. Where a file has `Lattice` and no `pbc`: true along the lattice vectors that are not zero.
    pub pbc: Vec<bool>,
    /// Further columns of atoms.
    pub columns: Vec<Column>,
    /// Values of comment lines.
    pub info: Vec<Info>,
}

/// One column of atoms, [N, width].
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub width: usize,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Real(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Text),
}

/// Words one after another: word i is `bytes[ends[i - 1]..ends[i]]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text {
    pub ends: Vec<usize>,
    pub bytes: String,
}

impl Text {
    pub fn push(&mut self, word: &str) {
        self.bytes.push_str(word);
        self.ends.push(self.bytes.len());
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

impl Values {
    /// The letter of a file's `Properties`.
    pub fn letter(&self) -> char {
        match self {
            Values::Real(_) => 'R',
            Values::Int(_) => 'I',
            Values::Bool(_) => 'L',
            Values::Text(_) => 'S',
        }
    }

    /// Integers become reals; others stay.
    pub fn promote(&mut self) {
        if let Values::Int(x) = self {
            *self = Values::Real(x.iter().map(|&x| x as f64).collect());
        }
    }
}

/// Lengthens a column to `len` values; a file cannot ask for more memory than there is.
pub fn grow<T: Clone>(values: &mut Vec<T>, len: usize, fill: T) -> Result<()> {
    let more = len.saturating_sub(values.len());
    let short = || Error::Memory(format!("a column of {len} values does not fit into memory"));
    if more > values.capacity() - values.len() {
        // Doubling, so that a file read piece by piece is not copied piece by piece.
        values.try_reserve(more.max(values.len())).or_else(|_| values.try_reserve_exact(more)).map_err(|_| short())?;
    }
    values.resize(len, fill);
    Ok(())
}
