//! Where frames and lines begin, found in a buffer that a file streams through.

use std::io::Read;
use std::ops::Range;

use crate::error::{Error, Result};

/// Atom lines that one job parses.
const LINES_OF_A_PIECE: usize = 1024;
/// Bytes of whole frames that are parsed at a time: they stay in the cache.
const BYTES_OF_A_STEP: usize = 1 << 20;

/// Which frames to read: `start`, `start + step`, ... below `stop`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    pub start: usize,
    /// `usize::MAX`: to the end of the file.
    pub stop: usize,
    pub step: usize,
}

impl Selection {
    pub const ALL: Selection = Selection { start: 0, stop: usize::MAX, step: 1 };

    fn has(&self, frame: usize) -> bool {
        frame >= self.start && frame < self.stop && (frame - self.start).is_multiple_of(self.step.max(1))
    }
}

/// A frame's place in the buffer.
#[derive(Debug, Clone)]
pub struct Place {
    /// Number of the frame in the file, from 0.
    pub frame: usize,
    /// Number of the line with the atom count, from 1.
    pub line: usize,
    pub num_atoms: usize,
    pub comment: Range<usize>,
    pub body: Range<usize>,
    /// `VEC1 x y z` lines after the atoms, if any.
    pub vectors: Range<usize>,
}

/// Some consecutive atom lines of one frame.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Index into the places.
    pub place: usize,
    /// First line, from 1.
    pub line: usize,
    pub num_atoms: usize,
    pub bytes: Range<usize>,
}

/// A file as it streams by: bytes read and not yet used, and how far in the file that is.
pub struct Source<R> {
    input: R,
    pub buffer: Vec<u8>,
    used: usize,
    ended: bool,
    line: usize,
    frame: usize,
}

impl<R: Read> Source<R> {
    pub fn new(input: R) -> Self {
        Source { input, buffer: Vec::new(), used: 0, ended: false, line: 1, frame: 0 }
    }

    /// Frames seen so far.
    pub fn num_frames(&self) -> usize {
        self.frame
    }

    /// The next selected frames, at most `limit` of them and about one step of bytes; none at the end of the file.
    /// They stay in the buffer until the next call.
    pub fn next(&mut self, wanted: &Selection, limit: usize) -> Result<(Vec<Place>, Vec<Piece>)> {
        let (mut places, mut pieces) = (Vec::new(), Vec::new());
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut goal = BYTES_OF_A_STEP;
        loop {
            if self.frame >= wanted.stop {
                return Ok((places, pieces));
            }
            self.fill(goal)?;
            while places.len() < limit && self.frame < wanted.stop && self.used < BYTES_OF_A_STEP {
                let first_piece = pieces.len();
                match self.frame_at(self.used, places.len(), &mut pieces)? {
                    Found::Frame { place, next, next_line } => {
                        if wanted.has(self.frame) {
                            places.push(place);
                        } else {
                            pieces.truncate(first_piece);
                        }
                        (self.used, self.line, self.frame) = (next, next_line, self.frame + 1);
                    }
                    Found::End => return Ok((places, pieces)),
                    Found::Short => {
                        pieces.truncate(first_piece);
                        break;
                    }
                }
            }
            if !places.is_empty() {
                return Ok((places, pieces));
            }
            // No whole frame of interest: drop what was passed over, then read on; a frame that does not fit doubles the buffer.
            if self.used > 0 {
                self.buffer.drain(..self.used);
                self.used = 0;
            } else {
                goal = goal.max(self.buffer.len()) * 2;
            }
        }
    }

    /// Reads until `goal` bytes are there or the file ends. The last line gets a line end if it has none.
    fn fill(&mut self, goal: usize) -> Result<()> {
        if self.ended || self.buffer.len() >= goal {
            return Ok(());
        }
        let missing = goal - self.buffer.len();
        self.buffer
            .try_reserve(missing + 1)
            .map_err(|_| Error::Memory(format!("{goal} bytes of one frame do not fit")))?;
        let read = (&mut self.input).take(missing as u64).read_to_end(&mut self.buffer);
        let read = read.map_err(|e| Error::Io(e.to_string()))?;
        if read < missing {
            self.ended = true;
            if self.buffer.last().is_some_and(|&b| b != b'\n') {
                self.buffer.push(b'\n');
            }
        }
        Ok(())
    }

    fn frame_at(&self, start: usize, place: usize, pieces: &mut Vec<Piece>) -> Result<Found> {
        let text = &self.buffer[..];
        let (mut at, mut line) = (start, self.line);
        // Blank lines between frames, and at the end.
        let count = loop {
            let Some(end) = skip_lines(text, at, 1) else {
                return Ok(if self.ended { Found::End } else { Found::Short });
            };
            let word = text[at..end].trim_ascii();
            if !word.is_empty() {
                break (word, end);
            }
            (at, line) = (end, line + 1);
        };
        let wrong = |line: usize, rule: &str, got: &str| {
            Error::Value(format!("line {line} (frame {}): {rule}, got {got}", self.frame))
        };
        let (word, comment_start) = count;
        let num_atoms = super::number::integer(word).and_then(|n| usize::try_from(n).ok());
        let num_atoms = num_atoms.ok_or_else(|| {
            let shown = String::from_utf8_lossy(&word[..word.len().min(60)]);
            wrong(line, "the frame's first line must be the number of atoms", &shown)
        })?;
        let Some(body_start) = skip_lines(text, comment_start, 1) else {
            if !self.ended {
                return Ok(Found::Short);
            }
            return Err(wrong(line + 1, "a comment line must follow the number of atoms", "the end of the file"));
        };
        let (mut body, mut done) = (body_start, 0);
        while done < num_atoms {
            let some = (num_atoms - done).min(LINES_OF_A_PIECE);
            let Some(end) = skip_lines(text, body, some) else {
                if !self.ended {
                    return Ok(Found::Short);
                }
                let there = done + text[body..].iter().filter(|&&b| b == b'\n').count();
                let rule = format!("the frame must have {num_atoms} atoms");
                return Err(wrong(line + 2 + there, &rule, &format!("the end of the file after {there}")));
            };
            pieces.push(Piece { place, line: line + 2 + done, num_atoms: some, bytes: body..end });
            (body, done) = (end, done + some);
        }
        let (mut next, mut next_line) = (body, line + 2 + num_atoms);
        for _ in 0..3 {
            let Some(end) = skip_lines(text, next, 1) else {
                if self.ended {
                    break;
                }
                return Ok(Found::Short);
            };
            if !text[next..end].trim_ascii_start().starts_with(b"VEC") {
                break;
            }
            (next, next_line) = (end, next_line + 1);
        }
        let comment = comment_start..body_start;
        let place = Place { frame: self.frame, line, num_atoms, comment, body: body_start..body, vectors: body..next };
        Ok(Found::Frame { place, next, next_line })
    }
}

enum Found {
    Frame {
        place: Place,
        next: usize,
        next_line: usize,
    },
    /// The buffer ends within the frame, the file does not.
    Short,
    End,
}

/// The position after `n` line ends from `at` on; None if there are fewer.
fn skip_lines(text: &[u8], mut at: usize, mut n: usize) -> Option<usize> {
    // A block of 64 bytes is counted at once; only the block with the last line end is looked at byte by byte.
    while let Some(block) = text.get(at..at + 64) {
        let ends = block.iter().map(|&b| u8::from(b == b'\n')).sum::<u8>() as usize;
        if ends >= n {
            break;
        }
        (n, at) = (n - ends, at + 64);
    }
    for (i, &b) in text[at.min(text.len())..].iter().enumerate() {
        if b == b'\n' {
            n -= 1;
            if n == 0 {
                return Some(at + i + 1);
            }
        }
    }
    None
}
