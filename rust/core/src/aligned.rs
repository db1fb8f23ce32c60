//! Numbers whose first one begins a cache line, so that no load of lanes touches two lines where rows are whole lines.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64;

/// A slice of fixed length.
#[derive(Debug)]
pub struct Aligned<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    /// `len` times `value`.
    pub fn new(value: T, len: usize) -> Self {
        let memory = vec![value; len + LINE / size_of::<T>().max(1)];
        // A platform may refuse to tell; then nothing is aligned and all is right.
        let first = memory.as_ptr().align_offset(LINE).min(memory.len() - len);
        Aligned { memory, first, len }
    }

    pub fn of(values: &[T]) -> Self {
        let Some(&value) = values.first() else { return Aligned { memory: Vec::new(), first: 0, len: 0 } };
        let mut aligned = Self::new(value, values.len());
        aligned.copy_from_slice(values);
        aligned
    }
}

impl<T: Copy> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        Self::of(self)
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.first..self.first + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.first..self.first + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_a_line_and_keeps_its_numbers() {
        for len in [0, 1, 7, 1000] {
            let numbers: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let (aligned, copy) = (Aligned::of(&numbers), Aligned::of(&numbers).clone());
            assert!(*aligned == numbers && *copy == numbers);
            assert!(
                len == 0
                    || (aligned.as_ptr() as usize).is_multiple_of(LINE)
                        && (copy.as_ptr() as usize).is_multiple_of(LINE)
            );
        }
    }
}
