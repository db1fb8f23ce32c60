//! Frames to text: reals in the fewest digits that read back to the same bits.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;

use super::comment::classify;
use super::frames::{Frames, Text, Values};
use super::info::{InfoValues, Value};
use crate::atoms::elements::SYMBOLS;
use crate::error::{Error, Result};
use crate::pool;

/// Frames to be written, borrowed. Shapes as in [`Frames`].
pub struct View<'a> {
    pub offsets: &'a [i64],
    pub numbers: &'a [u8],
    pub positions: ViewValues<'a>,
    pub cell: &'a [f64],
    pub pbc: &'a [bool],
    pub columns: Vec<ViewColumn<'a>>,
    pub info: Vec<ViewInfo<'a>>,
}

pub struct ViewColumn<'a> {
    pub name: String,
    pub width: usize,
    pub values: ViewValues<'a>,
}

/// Values of a column. A frame whose reals are all NaN, or whose words are all empty, is written without the column.
pub enum ViewValues<'a> {
    Real32(&'a [f32]),
    Real64(&'a [f64]),
    Int(&'a [i64]),
    Bool(&'a [bool]),
    Text(&'a Text),
}

/// One key of the comment lines.
pub struct ViewInfo<'a> {
    pub name: String,
    pub width: usize,
    /// A matrix of 9 is written column by column (virial, stress).
    pub values: ViewInfoValues<'a>,
}

pub enum ViewInfoValues<'a> {
    /// A frame whose reals are all NaN is written without the key.
    Real(&'a [f64]),
    Int(&'a [i64]),
    Bool(&'a [bool]),
    /// Texts as the file shall have them, apart from quotes and escapes; None: no such key in this frame.
    Text(Vec<Option<String>>),
}

impl Frames {
    /// Borrows all for [`write`].
    pub fn view(&self) -> View<'_> {
        let columns = self.columns.iter().map(|c| ViewColumn {
            name: c.name.clone(),
            width: c.width,
            values: match &c.values {
                Values::Real(x) => ViewValues::Real64(x),
                Values::Int(x) => ViewValues::Int(x),
                Values::Bool(x) => ViewValues::Bool(x),
                Values::Text(x) => ViewValues::Text(x),
            },
        });
        let info = self.info.iter().map(|i| {
            let width: usize = i.shape.iter().product();
            let is_special = matches!(i.name.as_str(), "stress" | "virial") && i.shape == [3, 3];
            let is_flat = i.shape.is_empty() || (i.shape.len() == 1 && width > 1) || is_special;
            let values = match &i.values {
                InfoValues::Real(x) if is_flat => ViewInfoValues::Real(x),
                InfoValues::Int(x) if is_flat => ViewInfoValues::Int(x),
                InfoValues::Bool(x) if is_flat => ViewInfoValues::Bool(x),
                InfoValues::Real(x) => nested(x.chunks(width.max(1)), &i.shape, |x| format!("{x:?}")),
                InfoValues::Int(x) => nested(x.chunks(width.max(1)), &i.shape, |x| x.to_string()),
                InfoValues::Bool(x) => nested(x.chunks(width.max(1)), &i.shape, |x| letter(*x).into()),
                InfoValues::Mixed(x) => ViewInfoValues::Text(x.iter().map(|v| v.as_ref().map(spell)).collect()),
            };
            ViewInfo { name: i.name.clone(), width: width.max(1), values }
        });
        View {
            offsets: &self.offsets,
            numbers: &self.numbers,
            positions: ViewValues::Real64(&self.positions),
            cell: &self.cell,
            pbc: &self.pbc,
            columns: columns.collect(),
            info: info.collect(),
        }
    }
}

fn nested<'v, 'a, T: 'v>(
    rows: impl Iterator<Item = &'v [T]>,
    shape: &[usize],
    one: impl Fn(&T) -> String,
) -> ViewInfoValues<'a> {
    ViewInfoValues::Text(rows.map(|row| Some(brackets(row, shape, &one))).collect())
}

fn brackets<T>(flat: &[T], shape: &[usize], one: &impl Fn(&T) -> String) -> String {
    let inner: Vec<String> = match shape {
        [] | [_] => flat.iter().map(one).collect(),
        [_, rest @ ..] => flat.chunks(rest.iter().product::<usize>().max(1)).map(|f| brackets(f, rest, one)).collect(),
    };
    format!("[{}]", inner.join(", "))
}

fn spell(value: &Value) -> String {
    match value {
        Value::Int(x) => x.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Bool(x) => letter(*x).into(),
        Value::Json(x) => format!("_JSON {x}"),
        Value::Text(x) => text(x),
        Value::Ints(x, s) => brackets(x, s, &|x| x.to_string()),
        Value::Reals(x, s) => brackets(x, s, &|x| format!("{x:?}")),
        Value::Bools(x, s) => brackets(x, s, &|x| letter(*x).into()),
    }
}

/// A text as it is, if it reads back as text; else as a JSON string.
pub fn text(x: &str) -> String {
    let plain = matches!(classify(x), Value::Text(_))
        && !x.contains(['\n', '\r'])
        && x.trim() == x
        && !x.is_empty()
        && !x.starts_with("[[");
    if plain {
        return x.into();
    }
    let mut json = String::from("_JSON \"");
    for c in x.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if (c as u32) < 0x20 => json.push_str(&format!("\\u{:04x}", c as u32)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn letter(x: bool) -> &'static str {
    if x { "T" } else { "F" }
}

/// In quotes, with escapes, if it needs them. A nested matrix stands in its own brackets.
fn quoted(out: &mut String, word: &str) {
    if word.starts_with("[[") {
        return out.push_str(word);
    }
    let plain = !word.is_empty() && !word.contains(|c: char| c.is_ascii_whitespace() || "\"'{}[]=\\".contains(c));
    if plain {
        return out.push_str(word);
    }
    out.push('"');
    for c in word.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// The text of all frames.
pub fn to_text(view: &View) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    write_to(&mut text, view)?;
    Ok(text)
}

/// Writes a file under a temporary name beside `path`, then renames it: a reader sees the old file or the whole new
/// one. A name that ends with .gz is compressed.
pub fn write(path: &Path, view: &View) -> Result<()> {
    let named = |e: std::io::Error| Error::Io(format!("{}: {e}", path.display()));
    let name = path.file_name().ok_or_else(|| Error::value("path", "the name of a file", path.display()))?;
    let temporary = path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let result = (|| {
        let file = File::create(&temporary).map_err(named)?;
        if path.extension().is_some_and(|e| e == "gz") {
            let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            write_to(&mut gz, view)?;
            gz.finish().map_err(named)?;
        } else {
            let mut file = file;
            write_to(&mut file, view)?;
        }
        std::fs::rename(&temporary, path).map_err(named)
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn write_to(out: &mut impl Write, view: &View) -> Result<()> {
    check(view)?;
    let io = |e: std::io::Error| Error::Io(e.to_string());
    // Blocks of frames become text on all threads; some blocks at a time bound the memory.
    let (num_frames, mut first) = (view.offsets.len().saturating_sub(1), 0);
    while first < num_frames {
        let mut blocks = Vec::new();
        while first < num_frames && blocks.len() < 64 {
            let mut last = first + 1;
            while last < num_frames && view.offsets[last + 1] - view.offsets[first] < 2000 && last - first < 200 {
                last += 1;
            }
            blocks.push(first..last);
            first = last;
        }
        let atoms = blocks.first().zip(blocks.last()).map_or(0, |(a, b)| view.offsets[b.end] - view.offsets[a.start]);
        let one = |block: &std::ops::Range<usize>| {
            let mut text = String::new();
            block.clone().for_each(|b| frame(&mut text, view, b));
            text
        };
        let texts: Vec<String> = pool::run(atoms as usize * 300, |threads| match threads {
            1 => blocks.iter().map(one).collect(),
            _ => blocks.par_iter().map(one).collect(),
        });
        for text in texts {
            out.write_all(text.as_bytes()).map_err(io)?;
        }
    }
    out.flush().map_err(io)
}

/// Names and words that a reader would take apart are refused.
fn check(view: &View) -> Result<()> {
    for column in &view.columns {
        let wrong = |c: char| c.is_whitespace() || "\"'{}[]=\\:".contains(c);
        let reserved = ["species", "symbols", "pos", "positions", "Z", "numbers"].contains(&&*column.name);
        if column.name.is_empty() || column.name.contains(wrong) || reserved {
            let rule = "names of columns without blanks, quotes, brackets, `:` or `=`, other than species, pos and Z";
            return Err(Error::value("columns", rule, format!("{:?}", column.name)));
        }
        if let ViewValues::Text(text) = &column.values {
            for (row, range) in view.offsets.windows(2).map(|w| w[0] as usize..w[1] as usize).enumerate() {
                let (from, to) = (range.start * column.width, range.end * column.width);
                let words = || text.iter().skip(from).take(to - from);
                if words().all(str::is_empty) {
                    continue;
                }
                if let Some(bad) =
                    words().find(|w| w.is_empty() || w.contains(|c: char| c.is_ascii_whitespace() || c < ' '))
                {
                    let got = format!("{bad:?} in system {row}");
                    return Err(Error::value(&column.name, "words without blanks", got));
                }
            }
        }
    }
    for info in &view.info {
        let special = ["Lattice", "pbc", "Properties"].contains(&&*info.name);
        if info.name.is_empty() || special || info.name.contains(['\n', '\r']) {
            let rule = "names of values other than Lattice, pbc and Properties, not empty, of one line";
            return Err(Error::value("info", rule, format!("{:?}", info.name)));
        }
    }
    Ok(())
}

fn frame(out: &mut String, view: &View, b: usize) {
    use std::fmt::Write;
    let rows = view.offsets[b] as usize..view.offsets[b + 1] as usize;
    let _ = writeln!(out, "{}", rows.len());
    let cell = &view.cell[9 * b..9 * b + 9];
    if cell.iter().any(|&x| x != 0.0) {
        out.push_str("Lattice=\"");
        joined(out, cell, |out, x| real(out, *x));
        out.push_str("\" ");
    }
    out.push_str("Properties=species:S:1:pos:R:3");
    let mut written = Vec::with_capacity(view.columns.len());
    for column in &view.columns {
        let range = rows.start * column.width..rows.end * column.width;
        let letter = match &column.values {
            ViewValues::Real32(x) if !x[range.clone()].iter().all(|x| x.is_nan()) => 'R',
            ViewValues::Real64(x) if !x[range.clone()].iter().all(|x| x.is_nan()) => 'R',
            ViewValues::Int(_) => 'I',
            ViewValues::Bool(_) => 'L',
            ViewValues::Text(t) if !(range.is_empty() || word(t, range.start).is_empty()) => 'S',
            _ => continue,
        };
        let _ = write!(out, ":{}:{letter}:{}", column.name, column.width);
        written.push(column);
    }
    let pbc = &view.pbc[3 * b..3 * b + 3];
    let _ = write!(out, " pbc=\"{} {} {}\"", letter(pbc[0]), letter(pbc[1]), letter(pbc[2]));
    for info in &view.info {
        let range = info.width * b..info.width * (b + 1);
        let mut value = String::new();
        match &info.values {
            ViewInfoValues::Real(x) => {
                let row = &x[range];
                if row.iter().all(|x| x.is_nan()) {
                    continue;
                }
                let is_matrix = matches!(info.name.as_str(), "stress" | "virial") && row.len() == 9;
                match is_matrix {
                    true => joined(&mut value, &[0, 3, 6, 1, 4, 7, 2, 5, 8], |out, &k| real(out, row[k])),
                    false => joined(&mut value, row, |out, x| real(out, *x)),
                }
            }
            ViewInfoValues::Int(x) => joined(&mut value, &x[range], |out, x| {
                let _ = write!(out, "{x}");
            }),
            ViewInfoValues::Bool(x) => joined(&mut value, &x[range], |out, x| out.push_str(letter(*x))),
            ViewInfoValues::Text(x) => match &x[b] {
                Some(x) => value.push_str(x),
                None => continue,
            },
        }
        out.push(' ');
        quoted(out, &info.name);
        out.push('=');
        quoted(out, &value);
    }
    out.push('\n');
    for row in rows {
        out.push_str(SYMBOLS.get(view.numbers[row] as usize).unwrap_or(&"X"));
        values(out, &view.positions, 3, row);
        written.iter().for_each(|column| values(out, &column.values, column.width, row));
        out.push('\n');
    }
}

fn joined<T>(out: &mut String, items: &[T], one: impl Fn(&mut String, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        one(out, item);
    }
}

fn values(out: &mut String, values: &ViewValues, width: usize, row: usize) {
    use std::fmt::Write;
    for k in row * width..(row + 1) * width {
        out.push(' ');
        match values {
            ViewValues::Real64(x) => real(out, x[k]),
            ViewValues::Real32(x) => {
                let _ = write!(out, "{:?}", x[k]);
            }
            ViewValues::Int(x) => {
                let _ = write!(out, "{}", x[k]);
            }
            ViewValues::Bool(x) => out.push_str(letter(x[k])),
            ViewValues::Text(x) => out.push_str(word(x, k)),
        }
    }
}

fn real(out: &mut String, x: f64) {
    use std::fmt::Write;
    let _ = write!(out, "{x:?}");
}

fn word(text: &Text, i: usize) -> &str {
    &text.bytes[if i == 0 { 0 } else { text.ends[i - 1] }..text.ends[i]]
}
