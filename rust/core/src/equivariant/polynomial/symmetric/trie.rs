//! Monomials as a forest: one tree an output, a node for every product that monomials begin with.

use std::collections::BTreeMap;

/// Degree of the largest monomial that fits a sweep's stack.
pub const DEPTH: usize = 8;
pub const NONE: usize = usize::MAX;

/// A product x_i x_j … that longer monomials begin with. Depth 0 is the empty product of one output.
#[derive(Debug)]
pub struct Node {
    pub depth: usize,
    /// The last component of the product; at depth 0 the output.
    pub x: usize,
    /// Coefficient of the product itself, or [`NONE`].
    pub own: usize,
    /// Monomials with one component more that nothing else begins with: leaves first..last, their coefficients the same.
    pub first: usize,
    pub last: usize,
    /// Nodes that end here are those of depth `stop` and more (at least 1).
    pub stop: usize,
    /// Whether this is the output's last node.
    pub closes: bool,
}

/// Nodes in the order of reading (each before its children), leaves and coefficients in the order of the nodes.
#[derive(Debug, Default)]
pub struct Trie {
    pub nodes: Vec<Node>,
    /// The last component of each leaf.
    pub leaves: Vec<usize>,
    /// Nodes with a coefficient of their own.
    owns: usize,
}

/// What a coefficient is made of: (weight row, factor).
pub type Parts = Vec<(usize, f64)>;

type Monomials = BTreeMap<Vec<usize>, Parts>;

impl Trie {
    /// From the monomials (sorted components) of each output. Gives the parts of every coefficient in the trie's numbering.
    pub fn new(outputs: &[Monomials]) -> (Self, Vec<Parts>) {
        let mut trie = Trie::default();
        let (mut leaf_parts, mut own_parts) = (Vec::new(), Vec::new());
        for (o, monomials) in outputs.iter().enumerate() {
            let list: Vec<(&[usize], &Parts)> = monomials.iter().map(|(m, p)| (m.as_slice(), p)).collect();
            trie.grow(0, o, &list, &mut leaf_parts, &mut own_parts);
        }
        for n in 0..trie.nodes.len() {
            let next = trie.nodes.get(n + 1).map_or(0, |node| node.depth);
            let node = &mut trie.nodes[n];
            (node.stop, node.closes) = (next.max(1), next == 0);
            if node.own != NONE {
                node.own += leaf_parts.len();
            }
        }
        trie.owns = own_parts.len();
        leaf_parts.append(&mut own_parts);
        (trie, leaf_parts)
    }

    /// One for each monomial of each output.
    pub fn coefficients(&self) -> usize {
        self.leaves.len() + self.owns
    }

    /// `list`: the monomials that begin with the node's product, sorted.
    fn grow(
        &mut self,
        depth: usize,
        x: usize,
        list: &[(&[usize], &Parts)],
        leaf: &mut Vec<Parts>,
        own: &mut Vec<Parts>,
    ) {
        let mut node = Node { depth, x, own: NONE, first: leaf.len(), last: 0, stop: 0, closes: false };
        let mut rest = list;
        if let Some((m, parts)) = rest.first()
            && m.len() == depth
        {
            node.own = own.len();
            own.push((*parts).clone());
            rest = &rest[1..];
        }
        let mut inner = Vec::new();
        for group in rest.chunk_by(|a, b| a.0[depth] == b.0[depth]) {
            if let [(m, parts)] = group
                && m.len() == depth + 1
            {
                self.leaves.push(m[depth]);
                leaf.push((*parts).clone());
            } else {
                inner.push(group);
            }
        }
        node.last = leaf.len();
        self.nodes.push(node);
        for group in inner {
            self.grow(depth + 1, group[0].0[depth], group, leaf, own);
        }
    }
}
