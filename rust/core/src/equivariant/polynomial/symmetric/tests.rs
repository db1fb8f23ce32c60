use super::super::general;
use super::*;
use crate::basis::lanes::Job;

/// 5 channels of 3 components: two outputs of degrees 1 to 4, weight rows of which one is twice another.
fn form() -> Form {
    let channels = 5;
    let lane = |n: usize| n * channels;
    let paths: [&[usize]; 9] = [
        &[0, 2, 0],
        &[0, 0, 1, 1],
        &[1, 0, 0, 0],
        &[1, 1, 2, 0],
        &[2, 0, 1, 2, 1],
        &[3, 0, 1, 2, 1],
        &[2, 1, 1, 1, 0],
        &[3, 1, 1, 1, 0],
        &[4, 0, 0, 1, 2, 1],
    ];
    let terms = paths.iter().enumerate().map(|(n, path)| {
        let factors = path.len();
        let operands = (0..factors).map(|f| [0, 1][usize::from(f > 0)] + usize::from(f + 1 == factors)).collect();
        let value = [0.5, -1.5, 2.0, 0.7, 1.0, 2.0, -0.3, -0.6, 0.9][n];
        (operands, vec![channels], vec![1; factors], path.iter().map(|&p| lane(p)).collect(), vec![value])
    });
    Form::new(vec![lane(5), lane(3), lane(2)], terms.collect()).unwrap()
}

fn numbers<T: Simd>(count: usize, seed: f64) -> Vec<T> {
    (0..count).map(|n| T::of((1.3 * n as f64 + seed).sin())).collect()
}

fn gap<T: Simd>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).fold(0.0, |gap, (a, b)| gap.max((*a - *b).to_f64().abs()))
}

/// Largest difference from the general executor: output, then both gradients.
fn gap_to_general<T: Simd>(modes: impl Fn(usize) -> Vec<Mode<'static>>, heights: [usize; 3]) -> f64 {
    let (form, count) = (form(), 11);
    let engine = Symmetric::recognize(&form).unwrap();
    let rows = Rows { count, modes: modes(count) };
    let [w, x, grad]: [Vec<T>; 3] = std::array::from_fn(|o| numbers(heights[o] * form.sizes[o], o as f64));
    let zeros = |o: usize| vec![T::ZERO; heights[o] * form.sizes[o]];
    let (mut out, mut grad_w, mut grad_x) = (zeros(2), zeros(0), zeros(1));
    engine.forward(&rows, &[&w, &x], &mut out);
    engine.backward(&rows, &[&w, &x], &grad, &mut grad_w, &mut grad_x);
    let mut expected = [zeros(0), zeros(1), zeros(2)];
    for term in &form.terms {
        let last = term.factors() - 1;
        let factors: Vec<&[T]> = term.operands.iter().map(|&o| [&w[..], &x, &grad][o]).collect();
        for target in 0..=last {
            general::add(&form, term, &rows, &factors, target, &mut expected[term.operands[target]]);
        }
    }
    gap(&grad_w, &expected[0]).max(gap(&grad_x, &expected[1])).max(gap(&out, &expected[2]))
}

#[test]
fn it_gives_what_the_general_executor_gives_however_rows_meet() {
    static INDEX: [i32; 11] = [2, 0, 2, 1, 2, 2, 0, 2, 2, 1, 2];
    let indexed = || Mode::Indexed(&INDEX);
    for (name, gap) in [
        ("indexed weights", gap_to_general::<f64>(|_| vec![indexed(), Mode::Own, Mode::Own], [4, 11, 11])),
        ("own weights", gap_to_general::<f64>(|_| vec![Mode::Own, Mode::Own, Mode::Own], [11, 11, 11])),
        ("shared weights", gap_to_general::<f64>(|_| vec![Mode::Shared, Mode::Own, Mode::Own], [1, 11, 11])),
        ("gather and scatter", gap_to_general::<f64>(|_| vec![indexed(), indexed(), indexed()], [3, 3, 3])),
        ("one x", gap_to_general::<f64>(|_| vec![indexed(), Mode::Shared, Mode::Own], [3, 1, 11])),
    ] {
        assert!(gap < 1e-12, "{name}: {gap}");
    }
    assert!(gap_to_general::<f32>(|_| vec![indexed(), Mode::Own, Mode::Own], [4, 11, 11]) < 1e-4);
}

/// All results of one unit by the registers and by the portable form.
fn portable_gap<T: Simd>(order: Order) -> f64 {
    let form = form();
    let table = Symmetric::recognize(&form).unwrap();
    let [w, h_w] = [0.0, 0.5].map(|s| numbers::<T>(form.sizes[0], s));
    let [x, h_x] = [0.1, 0.7].map(|s| numbers::<T>(7 * form.sizes[1], s));
    let grad = numbers::<T>(7 * form.sizes[2], 0.3);
    let operands = Operands { w: [&w, &h_w], x: [&x, &h_x], grad: &grad };
    let parts: Vec<(usize, T)> = table.folding.parts.iter().map(|&(class, u)| (class, T::of(u))).collect();
    let run = |portable: bool| {
        let (mut out, mut grad_x) = (vec![T::ZERO; grad.len()], vec![T::ZERO; x.len()]);
        let mut grad_w = vec![T::ZERO; w.len()];
        let rows: Vec<u32> = (0..7).collect();
        let outs = if order == Order::First { Vec::new() } else { out.chunks_mut(form.sizes[2]).collect() };
        let grads = grad_x.chunks_mut(form.sizes[1]).collect();
        let unit = Unit { table: &table, parts: &parts, operands, order, z: 0, rows: &rows, outs, grads };
        let job = Sweep { unit, grad_w: &mut grad_w };
        if portable {
            job.run::<T::Plain>()
        } else {
            dispatch(job)
        }
        [out, grad_x, grad_w].concat()
    };
    gap(&run(false), &run(true))
}

#[test]
fn the_portable_form_agrees_with_the_registers_to_rounding() {
    for order in [Order::Value, Order::First, Order::Second] {
        assert!(portable_gap::<f64>(order) < 1e-13);
        assert!(portable_gap::<f32>(order) < 1e-4);
    }
}

#[test]
fn couplings_that_are_multiples_of_each_other_are_folded_once() {
    let table = Symmetric::recognize(&form()).unwrap();
    assert_eq!((table.folding.rows.len(), table.folding.classes), (5, 4));
}
