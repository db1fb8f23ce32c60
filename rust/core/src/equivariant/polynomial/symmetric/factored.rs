//! Monomials in factored form: out_o = sum over nodes of product p (own + sum_k c_k q_k), with products p, q of few components.
//!
//! Products are shared by all outputs and made once for each atom; which of its divisors a monomial is filed under is chosen
//! such that few nodes hold many leaves (greedy set cover): 410 coefficients of 0e + 1o + 2e + 3o to 0e + 1o at degree 3 make
//! 151 nodes over 58 products of two.

use std::collections::BTreeMap;

/// Largest degree of a monomial.
pub const DEGREE: usize = 6;
pub const NONE: usize = usize::MAX;

#[derive(Debug)]
pub struct Node {
    /// The product that the node's sum is multiplied with; [`NONE`]: 1.
    pub product: usize,
    /// Coefficient of the product itself, or [`NONE`].
    pub own: usize,
    /// Leaves first..last, their coefficients the same.
    pub first: usize,
    pub last: usize,
}

#[derive(Debug, Default)]
pub struct Factored {
    /// Product `components + n` is product[n].0 times component product[n].1; those below are the components themselves.
    pub products: Vec<(usize, usize)>,
    /// Nodes of output o: nodes[ends[o]..ends[o + 1]].
    pub ends: Vec<usize>,
    pub nodes: Vec<Node>,
    /// The product of each leaf.
    pub leaves: Vec<usize>,
    /// Nodes with a coefficient of their own.
    owns: usize,
}

/// What a coefficient is made of: (weight row, factor).
pub type Parts = Vec<(usize, f64)>;

/// By sorted components.
pub type Monomials = BTreeMap<Vec<usize>, Parts>;

impl Factored {
    /// From the monomials of each output in so many components. Gives the parts of every coefficient, in order.
    pub fn new(outputs: &[Monomials], components: usize) -> (Self, Vec<Parts>) {
        let mut made = Factored { ends: vec![0], ..Factored::default() };
        let mut known: BTreeMap<Vec<usize>, usize> = (0..components).map(|i| (vec![i], i)).collect();
        let (mut leaf_parts, mut own_parts) = (Vec::new(), Vec::new());
        for monomials in outputs {
            made.cover(monomials, &mut known, &mut leaf_parts, &mut own_parts);
            made.ends.push(made.nodes.len());
        }
        for node in made.nodes.iter_mut().filter(|n| n.own != NONE) {
            node.own += leaf_parts.len();
        }
        made.owns = own_parts.len();
        leaf_parts.append(&mut own_parts);
        (made, leaf_parts)
    }

    /// One for each monomial of each output.
    pub fn coefficients(&self) -> usize {
        self.leaves.len() + self.owns
    }

    fn cover(
        &mut self,
        monomials: &Monomials,
        known: &mut BTreeMap<Vec<usize>, usize>,
        leaf_parts: &mut Vec<Parts>,
        own_parts: &mut Vec<Parts>,
    ) {
        let mut divisors: BTreeMap<Vec<usize>, Vec<&Vec<usize>>> = BTreeMap::new();
        for m in monomials.keys() {
            candidates(m).into_iter().for_each(|d| divisors.entry(d).or_default().push(m));
        }
        let mut open: BTreeMap<&Vec<usize>, &Parts> = monomials.iter().collect();
        while !open.is_empty() {
            let best = divisors.iter().max_by_key(|(d, held)| (held.len(), known.contains_key(*d)));
            let Some((divisor, held)) = best.map(|(d, h)| (d.clone(), h.clone())) else { return };
            let product = if divisor.is_empty() { NONE } else { self.product(&divisor, known) };
            let mut node = Node { product, own: NONE, first: self.leaves.len(), last: 0 };
            for m in held {
                let Some(parts) = open.remove(m) else { continue };
                let rest = quotient(m, &divisor);
                if rest.is_empty() {
                    node.own = own_parts.len();
                    own_parts.push(parts.clone());
                } else {
                    let leaf = self.product(&rest, known);
                    self.leaves.push(leaf);
                    leaf_parts.push(parts.clone());
                }
                for d in candidates(m) {
                    if let Some(held) = divisors.get_mut(&d) {
                        held.retain(|other| *other != m);
                    }
                }
            }
            node.last = self.leaves.len();
            self.nodes.push(node);
        }
    }

    /// The number of a product, made from a shorter one if it is not known.
    fn product(&mut self, sorted: &[usize], known: &mut BTreeMap<Vec<usize>, usize>) -> usize {
        if let Some(&n) = known.get(sorted) {
            return n;
        }
        let (&last, rest) = match sorted.split_last() {
            Some(split) => split,
            None => return NONE,
        };
        let parent = self.product(rest, known);
        self.products.push((parent, last));
        known.insert(sorted.to_vec(), known.len());
        known.len() - 1
    }
}

/// The divisors that a monomial may be filed under: those of half its degree; a square also under itself.
fn candidates(m: &[usize]) -> Vec<Vec<usize>> {
    if m.len() == 1 {
        return vec![Vec::new()];
    }
    let size = m.len().div_ceil(2);
    let mut found: Vec<Vec<usize>> = (0u32..1 << m.len())
        .filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| (0..m.len()).filter(|n| bits >> n & 1 == 1).map(|n| m[n]).collect())
        .collect();
    if m.len() == 2 {
        found.push(m.to_vec());
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// m / d, both sorted, d a divisor.
fn quotient(m: &[usize], d: &[usize]) -> Vec<usize> {
    let mut left = d.iter().peekable();
    m.iter().filter(|i| left.next_if_eq(i).is_none()).copied().collect()
}
