//! Atom lines: words into columns.

use super::layout::{Kind, Layout, Target};
use super::number::{integer, logical, real_prefix};
use crate::atoms::elements::atomic_number;

/// A word's place in the buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// The rows of one property that one job fills.
pub enum Out<'a> {
    Numbers(&'a mut [u8]),
    Real(&'a mut [f64]),
    Int(&'a mut [i64]),
    Bool(&'a mut [bool]),
    Text(&'a mut [Span]),
    Skipped,
}

/// An atom line that is wrong: how many lines after the first, and what is wrong with it.
pub type Wrong = (usize, String);

/// Reads `num_atoms` lines of `text`, which starts at `base` of the buffer; `outs` go with the layout's properties.
pub fn parse(text: &[u8], base: usize, num_atoms: usize, layout: &Layout, outs: &mut [Out]) -> Result<(), Wrong> {
    let mut at = 0;
    for atom in 0..num_atoms {
        for (property, out) in layout.properties.iter().zip(outs.iter_mut()) {
            let (from, width) = (atom * property.width, property.width);
            // A real finds its own end; of every other word the end is looked for first.
            if let Out::Real(values) = out {
                for value in &mut values[from..from + width] {
                    at = skip_blanks(text, at);
                    let Some((x, used)) = real_prefix(&text[at..]) else {
                        return Err((atom, what_is_wrong(&text[at..], layout, property.kind, &property.target)));
                    };
                    *value = x;
                    at += used;
                }
                continue;
            }
            for k in from..from + width {
                at = skip_blanks(text, at);
                let word = word_of(&text[at..]);
                let span = Span { start: base + at, end: base + at + word.len() };
                if word.is_empty() || !store(out, k, word, span) {
                    return Err((atom, what_is_wrong(&text[at..], layout, property.kind, &property.target)));
                }
                at += word.len();
            }
        }
        while let Some(&b) = text.get(at) {
            if b == b'\n' {
                break;
            }
            if b > b' ' {
                let rule = format!("an atom line must have {} values ({})", layout.num_words, layout.text);
                return Err((atom, format!("{rule}, got more: {}", shown(word_of(&text[at..])))));
            }
            at += 1;
        }
        at += 1;
    }
    Ok(())
}

/// Past blanks, not past the end of the line.
#[inline]
fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while let Some(&b) = text.get(at)
        && b <= b' '
        && b != b'\n'
    {
        at += 1;
    }
    at.min(text.len())
}

fn store(out: &mut Out, row: usize, word: &[u8], span: Span) -> bool {
    match out {
        Out::Numbers(values) => atomic_number(word).map(|z| values[row] = z).is_some(),
        Out::Int(values) => integer(word).map(|x| values[row] = x).is_some(),
        Out::Bool(values) => logical(word).map(|x| values[row] = x).is_some(),
        Out::Text(values) => {
            values[row] = span;
            true
        }
        Out::Real(_) | Out::Skipped => true,
    }
}

fn word_of(text: &[u8]) -> &[u8] {
    &text[..text.iter().position(|&b| b <= b' ').unwrap_or(text.len())]
}

fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(60)]).into_owned()
}

#[cold]
fn what_is_wrong(rest: &[u8], layout: &Layout, kind: Kind, target: &Target) -> String {
    let word = word_of(rest);
    if word.is_empty() {
        return format!("an atom line must have {} values ({}), got fewer", layout.num_words, layout.text);
    }
    let (name, rule) = match (target, kind) {
        (Target::Species | Target::Skipped, _) => ("species", "an element's symbol or a number from 1 to 118"),
        (Target::Positions, _) => ("pos", "real numbers"),
        (Target::Column(name), Kind::Real) => (&**name, "real numbers"),
        (Target::Column(name), Kind::Int) => (&**name, "integers of 64 bits"),
        (Target::Column(name), _) => (&**name, "T or F"),
    };
    format!("`{name}` must be {rule}, got {}", shown(word))
}
