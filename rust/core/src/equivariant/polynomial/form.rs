//! A polynomial as data: out[o] += C prod_f operand_f[o_f], every path for every index of its modes (u, v, w).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::Engines;
use crate::error::{Error, Result};

/// Most modes of a term and most factors of a path, the output's included.
pub const MODES: usize = 4;
pub const FACTORS: usize = 8;

/// Paths that share operands, extents and strides.
#[derive(Clone, Debug)]
pub struct Term {
    /// The operand of each factor, the output last.
    pub operands: Vec<usize>,
    /// Size of each mode, padded with 1.
    pub extents: [usize; MODES],
    /// Step of each factor in each mode.
    pub strides: Vec<[usize; MODES]>,
    /// [paths, factors].
    pub offsets: Vec<usize>,
    pub coefficients: Vec<f64>,
}

impl Term {
    pub fn factors(&self) -> usize {
        self.operands.len()
    }

    /// (offsets, coefficient) of every path.
    pub fn paths(&self) -> impl Iterator<Item = (&[usize], f64)> {
        self.offsets.chunks_exact(self.factors()).zip(self.coefficients.iter().copied())
    }
}

#[derive(Clone, Debug)]
pub struct Form {
    /// Length of a row of each operand, the output last.
    pub sizes: Vec<usize>,
    pub terms: Vec<Term>,
}

/// A term as it comes from outside: operands, extents, strides [factors, modes], offsets [paths, factors], coefficients.
pub type RawTerm = (Vec<usize>, Vec<usize>, Vec<usize>, Vec<usize>, Vec<f64>);

impl Form {
    /// Checks that every path stays within its operands, so that executors need not.
    pub fn new(sizes: Vec<usize>, raw: Vec<RawTerm>) -> Result<Self> {
        let wrong = |what: &str, got: String| Err(Error::value("terms", what, got));
        if !(2..=4).contains(&sizes.len()) {
            return Err(Error::value("sizes", "those of 1 to 3 inputs and the output", sizes.len()));
        }
        let mut terms = Vec::with_capacity(raw.len());
        for (operands, sides, steps, offsets, coefficients) in raw {
            let (factors, modes, last) = (operands.len(), sides.len(), sizes.len() - 1);
            if modes > MODES || !(2..=FACTORS).contains(&factors) {
                return wrong(
                    &format!("products of 2 to {FACTORS} factors with at most {MODES} modes"),
                    format!("{factors} and {modes}"),
                );
            }
            if operands[factors - 1] != last || operands[..factors - 1].iter().any(|&o| o >= last) {
                return wrong("of inputs and then the output", format!("{operands:?}"));
            }
            if steps.len() != factors * modes || offsets.len() != factors * coefficients.len() {
                return wrong("of one step a mode and one offset a path for each factor", format!("{}", offsets.len()));
            }
            let mut extents = [1; MODES];
            extents[..modes].copy_from_slice(&sides);
            let strides: Vec<[usize; MODES]> = (0..factors)
                .map(|f| std::array::from_fn(|n| if n < modes { steps[f * modes + n] } else { 0 }))
                .collect();
            let far: Vec<usize> = strides
                .iter()
                .map(|s| s.iter().zip(&extents).map(|(s, n)| s.saturating_mul(n.saturating_sub(1))).sum())
                .collect();
            for path in offsets.chunks_exact(factors) {
                for f in 0..factors {
                    if path[f].saturating_add(far[f]) >= sizes[operands[f]] {
                        return wrong(
                            "within their operands",
                            format!("{} in operand {}", path[f] + far[f], operands[f]),
                        );
                    }
                }
            }
            terms.push(Term { operands, extents, strides, offsets, coefficients });
        }
        Ok(Form { sizes, terms })
    }
}

/// A form with the executors that know it.
pub struct Polynomial {
    pub form: Form,
    pub engines: Engines,
}

type Key = (u64, u64);

fn store() -> &'static RwLock<HashMap<Key, Arc<Polynomial>>> {
    static STORE: OnceLock<RwLock<HashMap<Key, Arc<Polynomial>>>> = OnceLock::new();
    STORE.get_or_init(RwLock::default)
}

/// Makes a polynomial known under the two halves of its digest. Registering it again changes nothing.
pub fn register(key: Key, sizes: Vec<usize>, terms: Vec<RawTerm>) -> Result<()> {
    if store().read().unwrap_or_else(PoisonError::into_inner).contains_key(&key) {
        return Ok(());
    }
    let form = Form::new(sizes, terms)?;
    let made = Arc::new(Polynomial { engines: Engines::choose(&form), form });
    store().write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(made);
    Ok(())
}

pub fn find(key: Key) -> Result<Arc<Polynomial>> {
    let known = store().read().unwrap_or_else(PoisonError::into_inner);
    known.get(&key).cloned().ok_or_else(|| {
        Error::value("descriptor", "registered in this process before it runs", format!("{:012x}{:012x}", key.0, key.1))
    })
}
