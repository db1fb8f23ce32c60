//! The coefficients path by path, each pair of components (i, k) of x and the result with what it takes of y.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::coupling::{Coefficients, coefficients};

/// One component of the sum and its terms (component of the source, pair), all counted within their degrees.
pub struct Sum {
    pub target: usize,
    pub terms: Vec<(usize, usize)>,
}

/// A[pair] = sum of value y[j] over `factors[ends[pair]..ends[pair + 1]]`.
pub struct Path {
    /// l1, l2, l_out.
    pub degrees: [usize; 3],
    pub factors: Vec<(usize, f64)>,
    pub ends: Vec<usize>,
    /// The result's components from those of x.
    pub to_out: Vec<Sum>,
    /// The components of x from the result's.
    pub to_x: Vec<Sum>,
}

impl Path {
    pub fn num_pairs(&self) -> usize {
        self.ends.len() - 1
    }
}

fn sums(mut terms: Vec<(usize, usize, usize)>) -> Vec<Sum> {
    terms.sort_unstable();
    let mut out: Vec<Sum> = Vec::new();
    for (target, source, pair) in terms {
        match out.last_mut() {
            Some(last) if last.target == target => last.terms.push((source, pair)),
            _ => out.push(Sum { target, terms: vec![(source, pair)] }),
        }
    }
    out
}

type ByDegrees = HashMap<[usize; 3], Arc<Vec<Path>>>;

/// Made once for each triple of largest degrees.
pub fn paths(lmax: [usize; 3]) -> Arc<Vec<Path>> {
    static MADE: OnceLock<Mutex<ByDegrees>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(lmax).or_insert_with(|| Arc::new(make(&coefficients(lmax)))).clone()
}

fn make(all: &Coefficients) -> Vec<Path> {
    let by_path = all.list.chunk_by(|a, b| a.path == b.path);
    let made = by_path.map(|list| {
        let degrees = list[0].at.map(usize::isqrt);
        let mut list: Vec<_> = list.iter().map(|c| (c.at, c.value)).collect();
        list.sort_by_key(|(at, _)| (at[2], at[0], at[1]));
        let (mut pairs, mut ends) = (Vec::new(), Vec::new());
        for (n, ([i, _, k], _)) in list.iter().enumerate() {
            let pair = (i - degrees[0] * degrees[0], k - degrees[2] * degrees[2]);
            if pairs.last() != Some(&pair) {
                pairs.push(pair);
                ends.push(n);
            }
        }
        ends.push(list.len());
        Path {
            degrees,
            factors: list.iter().map(|(at, value)| (at[1], *value)).collect(),
            ends,
            to_out: sums(pairs.iter().enumerate().map(|(p, (i, k))| (*k, *i, p)).collect()),
            to_x: sums(pairs.iter().enumerate().map(|(p, (i, k))| (*i, *k, p)).collect()),
        }
    });
    made.collect()
}
