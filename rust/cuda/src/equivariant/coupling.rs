//! Clebsch-Gordan coefficients as straight-line text: every nonzero one an immediate of one instruction.

use std::fmt::Write;

use valence_core::equivariant::coupling::{Coefficient, coefficients};

use crate::source::Precision;

/// From one operand to another, y always the second: x (0) to the product (2), or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coupling {
    pub lmax: [usize; 3],
    pub back: bool,
}

/// A path into one degree, with its coefficients as (from, y, to), all indices l l + l + m.
struct Slot {
    path: usize,
    from: usize,
    list: Vec<([usize; 3], f64)>,
}

/// Between parts of a text: neither y nor these sums are known any more, so the compiler works them off one by one instead
/// of spreading all parts over more registers than there are.
fn part(text: &mut String, sums: &str, which: impl Iterator<Item = usize>) {
    *text += "    for (int j = 0; j < MY; j++) hide(y[j]);\n   ";
    which.for_each(|n| {
        let _ = write!(text, " hide({sums}[{n}]);");
    });
    *text += "\n";
}

impl Coupling {
    /// Sums that a thread of `gather.cu` holds at a time: what leaves no register to spill beside x and y.
    fn most_sums(&self, precision: Precision) -> usize {
        let [from, y, _] = self.sizes();
        (if precision == Precision::F32 { 104usize } else { 60 }).saturating_sub(from + y)
    }

    pub fn label(&self) -> String {
        let [a, b, c] = self.lmax;
        format!("lmax={a},{b},{c}{}", if self.back { " back" } else { "" })
    }

    fn ends(&self) -> (usize, usize) {
        if self.back { (2, 0) } else { (0, 2) }
    }

    pub fn degrees(&self) -> usize {
        self.lmax[self.ends().1] + 1
    }

    /// Components of the gathered operand, of y and of the result.
    pub fn sizes(&self) -> [usize; 3] {
        let (from, to) = self.ends();
        [from, 1, to].map(|n| (self.lmax[n] + 1) * (self.lmax[n] + 1))
    }

    /// The sizes of the coefficients, each once: those that differ by rounding alone count as one.
    fn values(&self) -> Vec<f64> {
        let mut all: Vec<_> = coefficients(self.lmax).list.iter().map(|c| c.value.abs()).collect();
        all.sort_by(f64::total_cmp);
        all.dedup_by(|a, b| *a - *b < 1e-13 * *b);
        all
    }

    /// The slots of each degree, by the degree that they come from.
    fn slots(&self) -> Vec<Vec<Slot>> {
        let (from, to) = self.ends();
        let root = |at: usize| at.isqrt();
        let mut all: Vec<Vec<Slot>> = (0..self.degrees()).map(|_| vec![]).collect();
        for &Coefficient { path, at, value } in &coefficients(self.lmax).list {
            let slots = &mut all[root(at[to])];
            if slots.last().is_none_or(|s| s.path != path) {
                slots.push(Slot { path, from: root(at[from]), list: vec![] });
            }
            if let Some(slot) = slots.last_mut() {
                slot.list.push(([at[from], at[1], at[to]], value));
            }
        }
        all.iter_mut().for_each(|slots| slots.sort_by_key(|s| (s.from, s.path)));
        all
    }

    /// Rows times slots of all degrees: what `t` holds a group and channel.
    pub fn height(&self) -> usize {
        self.slots().iter().enumerate().map(|(l, s)| (2 * l + 1) * s.len()).sum()
    }

    pub fn most_slots(&self) -> usize {
        self.slots().iter().map(Vec::len).max().unwrap_or(0)
    }

    pub fn num_paths(&self) -> usize {
        coefficients(self.lmax).num_paths
    }

    fn constants(&self) -> String {
        let [from, y, to] = self.sizes();
        let mut text = format!("constexpr int FROM = {from}, MY = {y}, TO = {to}, DEGREES = {};\n", self.degrees());
        let _ = writeln!(text, "constexpr int PATHS = {};", self.num_paths());
        if self.back {
            text += "#define BACK\n";
        }
        text
    }

    /// Constants, and what stands for a coefficient in the text: in single precision the number, an immediate; in double a
    /// value in constant memory, which an instruction reads in place of a register (there are no immediates of 64 bits).
    fn numbers(&self, precision: Precision) -> (String, impl Fn(f64) -> String) {
        let (mut text, values) = (self.constants(), self.values());
        if precision == Precision::F64 {
            let list: Vec<_> = values.iter().map(|&x| precision.literal(x)).collect();
            let _ = writeln!(text, "__constant__ real K[] = {{{}}};", list.join(", "));
        }
        let spelled = move |x: f64| {
            let at = values.partition_point(|v| *v < x.abs() * (1.0 - 1e-12)).min(values.len() - 1);
            let sign = if x < 0.0 { "-" } else { "" };
            match precision {
                Precision::F32 => format!("{sign}{}", precision.literal(values[at])),
                Precision::F64 => format!("{sign}K[{at}]"),
            }
        };
        (text, spelled)
    }

    /// Tables for `dense.cu`.
    pub fn dense(&self) -> String {
        let slots = self.slots();
        let (mut before, mut first) = (vec![], vec![]);
        let (mut height, mut count) = (0, 0);
        for (l, s) in slots.iter().enumerate() {
            before.push(height);
            first.push(count);
            height += (2 * l + 1) * s.len();
            count += s.len();
        }
        let mut text = self.constants();
        let mut list = |name: &str, values: Vec<usize>| {
            let values: Vec<_> = values.iter().map(usize::to_string).collect();
            let _ = writeln!(text, "static __device__ const int {name}[] = {{{}}};", values.join(", "));
        };
        list("SLOTS", slots.iter().map(Vec::len).collect());
        list("BEFORE", before);
        list("FIRST_SLOT", first);
        list("PATH", slots.iter().flatten().map(|s| s.path).collect());
        text
    }

    /// Stages for `gather.cu`: runs of slots of one degree, few enough for the registers.
    pub fn gather(&self, precision: Precision) -> String {
        let (mut text, spelled) = self.numbers(precision);
        let (mut cases, mut before) = (String::new(), 0);
        for (l, slots) in self.slots().iter().enumerate() {
            let (rows, most) = (2 * l + 1, (self.most_sums(precision) / (2 * l + 1)).max(1));
            let stages = slots.len().div_ceil(most);
            let mut calls = String::new();
            let share = slots.len().div_ceil(stages.max(1)).max(1);
            for (n, run) in slots.chunks(share).enumerate() {
                let low = run.iter().map(|s| s.from * s.from).min().unwrap_or(0);
                let high = run.iter().map(|s| (s.from + 1) * (s.from + 1)).max().unwrap_or(0);
                let _ = write!(
                    text,
                    "struct Stage{l}_{n} {{\n    static constexpr int DEGREE = {l}, SLOTS = {}, ALL_SLOTS = {}, FIRST = {}, BEFORE = {before}, \
                     LOW = {low}, HIGH = {high};\n    \
                     static __device__ __forceinline__ void add(const real* x, real* y, real* t) {{\n        real a;\n",
                    run.len(),
                    slots.len(),
                    n * share,
                );
                for (s, slot) in run.iter().enumerate() {
                    let at = |row: usize| row * run.len() + s;
                    each_pair(&slot.list, &spelled, |i, k, a| {
                        let _ = writeln!(text, "        a = {a}; t[{}] += a * x[{}];", at(k - l * l), i - low);
                    });
                    part(&mut text, "t", (0..rows).map(at));
                }
                text += "    }\n};\n";
                let _ = write!(calls, " RUN(Stage{l}_{n})");
            }
            let _ = write!(cases, " case {l}:{calls} break;");
            before += rows * slots.len();
        }
        let _ = writeln!(text, "#define EACH_STAGE(degree, RUN) switch (degree) {{{cases} }}");
        text
    }

    /// `reduce_all` for `reduce.cu`.
    pub fn reduce(&self, precision: Precision) -> String {
        let (mut text, spelled) = self.numbers(precision);
        let mut before = 0;
        text += "__device__ __forceinline__ void reduce_all(const real* x, const real* u, long long local, long long count, \
                 int channels, real* y) {\n    real p;\n    const real* ub;\n";
        for (l, slots) in self.slots().iter().enumerate() {
            let rows = 2 * l + 1;
            let _ = writeln!(text, "    ub = u + ({before} * count + local * {}) * channels;", rows * slots.len());
            for (s, slot) in slots.iter().enumerate() {
                let _ = writeln!(text, "    {{\n        hold_loads();");
                for k in 0..rows {
                    let _ = writeln!(text, "        const real u{k} = ub[{} * channels];", k * slots.len() + s);
                }
                each_product(&slot.list, &spelled, |i, k, terms| {
                    let _ = writeln!(text, "        p = x[{i}] * u{};{terms}", k - l * l);
                });
                part(&mut text, "y", 0..0);
                let _ = writeln!(text, "    }}");
            }
            before += rows * slots.len();
        }
        text + "}\n"
    }

    /// Components that a thread of `simple.cu` sums: all, or four where registers are short.
    pub fn simple_stages(&self, precision: Precision) -> Vec<std::ops::Range<usize>> {
        let [from, y, to] = self.sizes();
        if (from + y + to) * precision.bytes() <= 400 {
            return std::iter::once(0..to).collect();
        }
        (0..to).step_by(4).map(|k| k..(k + 4).min(to)).collect()
    }

    /// Stages and `add_towards_y` for `simple.cu`.
    pub fn simple(&self, precision: Precision) -> String {
        let ((mut text, spelled), slots) = (self.numbers(precision), self.slots());
        let of = |k: usize| -> Vec<_> {
            let all = slots.iter().flatten().flat_map(|s| &s.list);
            all.filter(|(at, _)| at[2] == k).copied().collect()
        };
        // Parts: a component each, or in single precision the components of a degree.
        let ends = |k: usize| precision == Precision::F64 || (k + 1).isqrt() > k.isqrt();
        let starts = |k: usize| k == 0 || ends(k - 1);
        let first = |k: usize| (0..=k).rev().find(|&k| starts(k)).unwrap_or(0);
        let mut cases = String::new();
        let stages = self.simple_stages(precision);
        let split = stages.len() > 1;
        // Read for each edge again: else all coefficients are kept in registers through the loop over edges.
        let again = if split { "    int zero = 0;\n    hide(zero);\n    const real* K = ::K + zero;\n" } else { "" };
        for (n, stage) in stages.into_iter().enumerate() {
            let _ = writeln!(
                text,
                "struct Stage{n} {{\n    static constexpr int START = {}, ROWS = {};\n    \
                 static __device__ __forceinline__ void add(const real* x, real* y, real* t) {{\n{again}    real a;",
                stage.start,
                stage.len()
            );
            let _ = write!(cases, " case {n}: RUN(Stage{n}) break;");
            for k in stage.clone() {
                let mut terms = 0;
                each_pair(&of(k), &spelled, |i, k, a| {
                    let _ = writeln!(text, "    a = {a}; t[{}] += a * x[{i}];", k - stage.start);
                    terms += 1;
                    if split && terms % 12 == 0 {
                        part(&mut text, "t", k - stage.start..k + 1 - stage.start);
                    }
                });
                if ends(k) {
                    part(&mut text, "t", first(k) - stage.start..k + 1 - stage.start);
                }
            }
            text += "    }\n};\n";
        }
        let most = self.simple_stages(precision).iter().map(|s| s.len() | 1).max().unwrap_or(1);
        let _ = writeln!(text, "constexpr int MOST_ROWS = {most};");
        let _ = writeln!(text, "#define EACH_STAGE(stage, RUN) switch (stage) {{{cases} }}");
        if self.back {
            return text;
        }
        text += "__device__ __forceinline__ void add_towards_y(const real* x, const real* g, int channels, real* y) {\n    \
                 real p, gk;\n";
        for k in 0..self.sizes()[2] {
            let _ = writeln!(text, "    gk = g[{k} * channels];");
            each_product(&of(k), &spelled, |i, _, terms| {
                let _ = writeln!(text, "    p = x[{i}] * gk;{terms}");
            });
            if ends(k) {
                text += "    hold_loads();\n";
                part(&mut text, "y", 0..0);
            }
        }
        text + "}\n"
    }
}

/// For each (from, to) that couples: the sum over y as text.
fn each_pair(list: &[([usize; 3], f64)], spelled: impl Fn(f64) -> String, mut emit: impl FnMut(usize, usize, &str)) {
    each(list, |i, k, factors| {
        let terms: Vec<_> = factors.iter().map(|(j, value)| format!("{} * y[{j}]", spelled(*value))).collect();
        emit(i, k, &terms.join(" + "));
    });
}

/// For each (from, to) that couples: what its product p adds to y.
fn each_product(list: &[([usize; 3], f64)], spelled: impl Fn(f64) -> String, mut emit: impl FnMut(usize, usize, &str)) {
    each(list, |i, k, factors| {
        let terms: Vec<_> = factors.iter().map(|(j, value)| format!(" y[{j}] += {} * p;", spelled(*value))).collect();
        emit(i, k, &terms.concat());
    });
}

fn each(list: &[([usize; 3], f64)], mut emit: impl FnMut(usize, usize, &[(usize, f64)])) {
    let mut sorted = list.to_vec();
    sorted.sort_by_key(|([i, j, k], _)| (*k, *i, *j));
    for run in sorted.chunk_by(|([i, _, k], _), ([p, _, q], _)| (i, k) == (p, q)) {
        let factors: Vec<_> = run.iter().map(|([_, j, _], value)| (*j, *value)).collect();
        emit(run[0].0[0], run[0].0[2], &factors);
    }
}
