//! Extended XYZ files: [`read`], [`Reader`] for files larger than memory, [`write`].
//!
//! A frame is a line with the number of atoms, a comment line of `key=value` pairs, and one line an atom. The comment's
//! `Lattice="ax ay az bx by bz cx cy cz"` gives the cell, `pbc="T T F"` its periodic directions, and
//! `Properties=species:S:1:pos:R:3:...` names the columns (S text, R real, I integer, L logical; then how many). A file
//! without these is plain XYZ. Files compressed by gzip are recognised by their first bytes.
//!
//! What frames have in common becomes one array a column for the whole file. Where frames differ:
//! a column or value that some frames lack is NaN there if real and empty if text; a missing integer or logical column is
//! an error, since these have no NaN. Integers in one frame and reals in another make reals.
//!
//! ```
//! use valence_core::atoms::extxyz::{Frames, Selection, parse, to_text};
//! let text = "2\nLattice=\"5 0 0 0 5 0 0 0 5\" energy=-1.5\nC 0 0 0\nO 1.2 0 0\n";
//! let frames: Frames = parse(text.as_bytes(), Selection::ALL)?;
//! assert_eq!(frames.numbers, [6, 8]);
//! assert_eq!(frames.positions[3], 1.2);
//! assert_eq!(parse(&to_text(&frames.view())?, Selection::ALL)?, frames);
//! # Ok::<(), valence_core::Error>(())
//! ```

mod body;
mod comment;
mod frames;
mod info;
mod layout;
mod number;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use frames::{Column, Frames, Text, Values};
pub use info::{Info, InfoValues, Value};
pub use read::{Reader, count, parse, read};
pub use scan::Selection;
pub use write::{View, ViewColumn, ViewInfo, ViewInfoValues, ViewValues, text as info_text, to_text, write};
