//! Frames of a file: scanned, headers read, columns agreed upon, atom lines parsed on all threads.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rayon::prelude::*;

use super::body::{self, Out, Span};
use super::comment::{self, Broken, Comment};
use super::frames::{Column, Frames, Text, Values, grow};
use super::info::Gather;
use super::layout::{self, Kind, Layout, Target};
use super::number::real;
use super::scan::{Piece, Place, Selection, Source};
use crate::error::{Error, Result};
use crate::pool;

/// Nanoseconds that a byte of text costs on one thread, roughly: decides whether threads pay.
const NS_PER_BYTE: usize = 3;

type Input = Box<dyn Read + Send>;

/// A file read some frames at a time, in memory for these and one step of its text.
///
/// ```no_run
/// use valence_core::atoms::extxyz::{Reader, Selection};
/// let mut reader = Reader::open("trajectory.xyz.gz".as_ref(), Selection::ALL)?;
/// while let Some(frames) = reader.next(1000)? {
///     println!("{} frames, {} atoms", frames.offsets.len() - 1, frames.numbers.len());
/// }
/// # Ok::<(), valence_core::Error>(())
/// ```
pub struct Reader<R = Input> {
    source: Source<R>,
    wanted: Selection,
}

impl Reader<Input> {
    /// Opens a file, compressed by gzip or not.
    pub fn open(path: &Path, wanted: Selection) -> Result<Self> {
        Ok(Reader::new(open(path)?, wanted))
    }
}

fn open(path: &Path) -> Result<Input> {
    let named = |e: std::io::Error| Error::Io(format!("{}: {e}", path.display()));
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(named)?);
    let is_gzip = file.fill_buf().map_err(named)?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) })
}

impl<R: Read + Send> Reader<R> {
    pub fn new(input: R, wanted: Selection) -> Self {
        Reader { source: Source::new(input), wanted }
    }

    /// The next frames, at most `limit`; None at the end.
    pub fn next(&mut self, limit: usize) -> Result<Option<Frames>> {
        let mut merge = Merge::default();
        merge.frames.offsets.push(0);
        while merge.num_frames() < limit {
            let (places, pieces) = self.source.next(&self.wanted, limit - merge.num_frames())?;
            if places.is_empty() {
                break;
            }
            merge.add(&self.source.buffer, &places, &pieces)?;
        }
        Ok((merge.num_frames() > 0).then(|| merge.finish()))
    }
}

/// Reads a file, compressed by gzip or not.
///
/// # Errors
/// `Io` if the file cannot be read; `Value` where a line is wrong: "line 17 (frame 2): ...", frames counted from 0.
pub fn read(path: &Path, wanted: Selection) -> Result<Frames> {
    Reader::open(path, wanted)?.next(usize::MAX).map(Option::unwrap_or_default).map(closed)
}

/// Reads a file that is in memory.
pub fn parse(text: &[u8], wanted: Selection) -> Result<Frames> {
    Reader::new(text, wanted).next(usize::MAX).map(Option::unwrap_or_default).map(closed)
}

/// The number of frames of a file; atom lines are passed over.
pub fn count(path: &Path) -> Result<usize> {
    let mut source = Source::new(open(path)?);
    let nothing = Selection { start: usize::MAX, stop: usize::MAX, step: 1 };
    source.next(&nothing, usize::MAX)?;
    Ok(source.num_frames())
}

fn closed(mut frames: Frames) -> Frames {
    if frames.offsets.is_empty() {
        frames.offsets.push(0);
    }
    frames
}

/// A layout and the column that each of its properties goes to.
struct Agreed {
    layout: Layout,
    columns: Vec<Option<usize>>,
}

#[derive(Default)]
struct Merge {
    frames: Frames,
    layouts: Vec<Agreed>,
    info: Vec<Gather>,
    /// First frame (number and line) that has each column, for messages.
    first: Vec<usize>,
}

fn at(line: usize, frame: usize, what: impl std::fmt::Display) -> Error {
    Error::Value(format!("line {line} (frame {frame}): {what}"))
}

fn broken(line: usize, frame: usize, (name, rule, got): Broken) -> Error {
    at(line, frame, Error::value(&name, &rule, got))
}

impl Merge {
    fn num_frames(&self) -> usize {
        self.frames.offsets.len().saturating_sub(1)
    }

    fn add(&mut self, buffer: &[u8], places: &[Place], pieces: &[Piece]) -> Result<()> {
        let bytes: usize = places.iter().map(|p| p.body.end - p.comment.start).sum();
        let headers = |_| places.par_iter().with_min_len(64).map(|p| header(buffer, p)).collect::<Vec<_>>();
        let comment_bytes: usize = places.iter().map(|p| p.comment.len()).sum();
        let comments = match places.len() {
            1 => vec![header(buffer, &places[0])],
            _ => pool::run(comment_bytes * 10, headers),
        };
        let mut layout_of = Vec::with_capacity(places.len());
        for (place, comment) in places.iter().zip(comments) {
            layout_of.push(self.begin(place, comment?, buffer)?);
        }
        let num_atoms: usize = places.iter().map(|p| p.num_atoms).sum();
        let before = self.frames.numbers.len();
        let total = before + num_atoms;
        grow(&mut self.frames.numbers, total, 0)?;
        grow(&mut self.frames.positions, 3 * total, 0.0)?;
        let mut spans: Vec<Vec<Span>> = Vec::new();
        for column in &mut self.frames.columns {
            let width = column.width;
            let len =
                total.checked_mul(width).ok_or_else(|| Error::Memory(format!("`{}` does not fit", column.name)))?;
            match &mut column.values {
                Values::Real(x) => grow(x, len, f64::NAN)?,
                Values::Int(x) => grow(x, len, 0)?,
                Values::Bool(x) => grow(x, len, false)?,
                Values::Text(_) => {
                    let mut words = Vec::new();
                    grow(&mut words, num_atoms * width, Span::default())?;
                    spans.push(words);
                }
            }
        }
        self.lines(buffer, places, pieces, &layout_of, before, &mut spans, bytes)?;
        let texts = self.frames.columns.iter_mut().filter_map(|c| match &mut c.values {
            Values::Text(text) => Some((&c.name, text)),
            _ => None,
        });
        for ((name, text), words) in texts.zip(&spans) {
            for span in words {
                let word = std::str::from_utf8(&buffer[span.start..span.end]);
                text.push(word.map_err(|_| Error::Value(format!("`{name}` must be UTF-8, got other bytes")))?);
            }
        }
        Ok(())
    }

    /// Parses all atom lines; each job fills rows of its own.
    #[allow(clippy::too_many_arguments)]
    fn lines(
        &mut self,
        buffer: &[u8],
        places: &[Place],
        pieces: &[Piece],
        layout_of: &[usize],
        before: usize,
        spans: &mut [Vec<Span>],
        bytes: usize,
    ) -> Result<()> {
        let widths: Vec<usize> = self.frames.columns.iter().map(|c| c.width).collect();
        let mut numbers = &mut self.frames.numbers[before..];
        let mut positions = &mut self.frames.positions[3 * before..];
        let mut words = spans.iter_mut();
        let mut rest: Vec<Out> = Vec::new();
        for column in &mut self.frames.columns {
            let from = before * column.width;
            rest.push(match &mut column.values {
                Values::Real(x) => Out::Real(&mut x[from..]),
                Values::Int(x) => Out::Int(&mut x[from..]),
                Values::Bool(x) => Out::Bool(&mut x[from..]),
                Values::Text(_) => words.next().map_or(Out::Skipped, |w| Out::Text(w)),
            });
        }
        let mut jobs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let agreed = &self.layouts[layout_of[piece.place]];
            let n = piece.num_atoms;
            let mut number = Some(Out::Numbers(take(&mut numbers, n)));
            let mut position = Some(Out::Real(take(&mut positions, 3 * n)));
            let mut parts: Vec<Out> = rest.iter_mut().zip(&widths).map(|(out, w)| split(out, n * w)).collect();
            let properties = agreed.layout.properties.iter().zip(&agreed.columns);
            let outs = properties.map(|(property, column)| {
                let out = match (&property.target, column) {
                    (Target::Species, _) => number.take(),
                    (Target::Positions, _) => position.take(),
                    (_, Some(c)) => Some(std::mem::replace(&mut parts[*c], Out::Skipped)),
                    _ => None,
                };
                out.unwrap_or(Out::Skipped)
            });
            jobs.push((piece, &agreed.layout, outs.collect::<Vec<Out>>()));
        }
        let work = |(piece, layout, mut outs): (&Piece, &Layout, Vec<Out>)| {
            let text = &buffer[piece.bytes.clone()];
            body::parse(text, piece.bytes.start, piece.num_atoms, layout, &mut outs)
                .map_err(|(line, what)| at(piece.line + line, places[piece.place].frame, what))
        };
        let results: Vec<Result<()>> = pool::run(bytes * NS_PER_BYTE, |threads| match threads {
            1 => jobs.into_iter().map(work).collect(),
            _ => jobs.into_par_iter().with_min_len(8.min(pieces.len() / (4 * threads)).max(1)).map(work).collect(),
        });
        results.into_iter().collect()
    }

    /// Notes a frame's cell and values, agrees on its columns; the index of its layout.
    fn begin(&mut self, place: &Place, comment: Comment, buffer: &[u8]) -> Result<usize> {
        let index = self.num_frames();
        let text = comment.properties.unwrap_or_default();
        let first_line = &buffer[place.body.clone()];
        let first_line = &first_line[..first_line.iter().position(|&b| b == b'\n').unwrap_or(0)];
        let num_words = || first_line.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty()).count();
        let text = if text.is_empty() { layout::plain(num_words()) } else { text };
        let known = self.layouts.iter().rposition(|a| a.layout.text == text);
        let layout = match known {
            Some(layout) => layout,
            None => {
                let layout = Layout::parse(&text).map_err(|b| broken(place.line + 1, place.frame, b))?;
                // Before memory is asked for: a line must be as long as its properties say.
                if place.num_atoms > 0 && num_words() < layout.num_words {
                    let rule =
                        format!("an atom line must have {} values ({text}), got {}", layout.num_words, num_words());
                    return Err(at(place.line + 2, place.frame, rule));
                }
                self.agree(place, layout)?
            }
        };
        if place.num_atoms > 0 {
            self.check_missing(place, layout)?;
        }
        let frames = &mut self.frames;
        let cell = comment.lattice.unwrap_or_default();
        let periodic = std::array::from_fn(|i| cell[3 * i..3 * i + 3].iter().any(|&x| x != 0.0));
        let pbc = comment.pbc.unwrap_or(if comment.lattice.is_some() { periodic } else { [false; 3] });
        frames.cell.extend_from_slice(&cell);
        frames.pbc.extend_from_slice(&pbc);
        let end = frames.offsets.last().copied().unwrap_or(0) + place.num_atoms as i64;
        frames.offsets.push(end);
        for (k, (key, value)) in comment.info.into_iter().enumerate() {
            // Frames mostly repeat their keys in one order.
            let same = self.info.get(k).is_some_and(|g| g.name == key);
            let slot = if same { Some(k) } else { self.info.iter().position(|g| g.name == key) };
            let slot = slot.unwrap_or_else(|| {
                self.info.push(Gather::new(key));
                self.info.len() - 1
            });
            self.info[slot].push(index, value);
        }
        Ok(layout)
    }

    /// A new layout: finds or makes the column of each property.
    fn agree(&mut self, place: &Place, layout: Layout) -> Result<usize> {
        let mut columns = Vec::with_capacity(layout.properties.len());
        for property in &layout.properties {
            let Target::Column(name) = &property.target else {
                columns.push(None);
                continue;
            };
            let found = self.frames.columns.iter().position(|c| c.name == *name);
            let index = found.unwrap_or(self.frames.columns.len());
            if let Some(column) = self.frames.columns.get_mut(index) {
                let letter = column.values.letter();
                let mixes = matches!((letter, property.kind), ('R', Kind::Int) | ('I', Kind::Real));
                if letter == 'I' && property.kind == Kind::Real {
                    column.values.promote();
                }
                if column.width != property.width || !(mixes || letter == letter_of(property.kind)) {
                    let rule = format!("{letter}:{} as in frame {}", column.width, self.first[index]);
                    let got = format!("{}:{}", letter_of(property.kind), property.width);
                    return Err(at(place.line + 1, place.frame, Error::value(name, &rule, got)));
                }
            } else {
                let rows = self.frames.numbers.len();
                let mut values = match property.kind {
                    Kind::Real => Values::Real(Vec::new()),
                    Kind::Int => Values::Int(Vec::new()),
                    Kind::Bool => Values::Bool(Vec::new()),
                    Kind::Text => Values::Text(Text { ends: vec![0; rows * property.width], bytes: String::new() }),
                };
                if let Values::Real(x) = &mut values {
                    grow(x, rows.saturating_mul(property.width), f64::NAN)?;
                }
                self.frames.columns.push(Column { name: name.clone(), width: property.width, values });
                self.first.push(place.frame);
                let atoms_before = self.frames.offsets.last().copied().unwrap_or(0) > 0;
                if atoms_before && matches!(property.kind, Kind::Int | Kind::Bool) {
                    return Err(at(place.line + 1, place.frame, lacking(name, "earlier frames")));
                }
            }
            columns.push(Some(index));
        }
        self.layouts.push(Agreed { layout, columns });
        Ok(self.layouts.len() - 1)
    }

    /// Integer and logical columns have no "missing".
    fn check_missing(&self, place: &Place, layout: usize) -> Result<()> {
        let columns = &self.layouts[layout].columns;
        if columns.iter().flatten().count() == self.frames.columns.len() {
            return Ok(());
        }
        for (i, column) in self.frames.columns.iter().enumerate() {
            if !columns.contains(&Some(i)) && matches!(column.values, Values::Int(_) | Values::Bool(_)) {
                return Err(at(place.line + 1, place.frame, lacking(&column.name, "this frame")));
            }
        }
        Ok(())
    }

    fn finish(self) -> Frames {
        let num_frames = self.num_frames();
        let mut frames = self.frames;
        frames.info = self.info.into_iter().map(|g| g.finish(num_frames)).collect();
        frames
    }
}

fn lacking(name: &str, who: &str) -> Error {
    Error::value(
        name,
        "in all frames or in none, since integers and logicals have no NaN (read such frames apart)",
        format!("none in {who}"),
    )
}

fn letter_of(kind: Kind) -> char {
    match kind {
        Kind::Real => 'R',
        Kind::Int => 'I',
        Kind::Bool => 'L',
        Kind::Text => 'S',
    }
}

fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(n);
    *rest = tail;
    head
}

fn split<'a>(out: &mut Out<'a>, n: usize) -> Out<'a> {
    match out {
        Out::Numbers(x) => Out::Numbers(take(x, n)),
        Out::Real(x) => Out::Real(take(x, n)),
        Out::Int(x) => Out::Int(take(x, n)),
        Out::Bool(x) => Out::Bool(take(x, n)),
        Out::Text(x) => Out::Text(take(x, n)),
        Out::Skipped => Out::Skipped,
    }
}

fn header(buffer: &[u8], place: &Place) -> Result<Comment> {
    let text = std::str::from_utf8(&buffer[place.comment.clone()])
        .map_err(|_| at(place.line + 1, place.frame, "a comment must be UTF-8, got other bytes"))?;
    if place.vectors.is_empty() {
        return comment::parse(text).map_err(|b| broken(place.line + 1, place.frame, b));
    }
    let mut comment = comment::free_text(text);
    let (mut cell, mut pbc) = ([0.0; 9], [false; 3]);
    let lines = buffer[place.vectors.clone()].split(|&b| b == b'\n').filter(|l| !l.is_empty());
    for (k, line) in lines.enumerate() {
        let mut words = line.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty());
        let name = words.next().unwrap_or_default();
        let numbers: Option<Vec<f64>> = words.map(real).collect();
        let vector = numbers.filter(|x| x.len() == 3 && name == format!("VEC{}", k + 1).as_bytes());
        let vector = vector.ok_or_else(|| {
            let line_number = place.line + 2 + place.num_atoms + k;
            let rule = format!("VEC{} and three numbers", k + 1);
            broken(line_number, place.frame, ("VEC".into(), rule, String::from_utf8_lossy(line).trim().into()))
        })?;
        cell[3 * k..3 * k + 3].copy_from_slice(&vector);
        pbc[k] = true;
    }
    (comment.lattice, comment.pbc) = (Some(cell), Some(pbc));
    Ok(comment)
}
