//! Large result buffers and the limit on them.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::real::Real;

/// Below this the limit is not looked up: asking the system costs more than a small list.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Blocks from this size on ask for huge pages.
const HUGE_FROM: usize = 4 << 20;

/// Memory for `len` numbers, written before it is read. Large blocks come from the system in huge pages and return to a
/// store of blocks, whose pages the system may take back at any time (`MADV_FREE`) but need not clear for us again:
/// clearing the pages of a fresh list took up to half of its time.
#[derive(Debug)]
pub struct Buffer<T: Copy> {
    block: Block,
    len: usize,
    of: PhantomData<T>,
}

/// Bytes from the system or the store.
#[derive(Debug)]
pub struct Block {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: a block is plain memory with one owner.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Block {}

/// Blocks not in use, by the process that made them.
static STORE: Mutex<Vec<Block>> = Mutex::new(Vec::new());
const PAGE: usize = 1 << 12;
const HUGE: usize = 1 << 21;
/// Most blocks in the store, and most bytes.
const STORED: usize = 512;
const STORED_BYTES: usize = 8 << 30;

impl Block {
    fn new(bytes: usize) -> Result<Self> {
        let unit = if bytes >= HUGE_FROM { HUGE } else { 16 * PAGE };
        let Some(bytes) = bytes.max(1).checked_next_multiple_of(unit) else { return Err(too_large(bytes)) };
        // A lock held at a fork stays locked in the child: then there is no store, and nothing waits.
        if let Ok(mut store) = STORE.try_lock() {
            let fits = |b: &Block| b.bytes >= bytes && b.bytes <= bytes + bytes / 4;
            let best = store.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.bytes);
            if let Some(at) = best.map(|(at, _)| at) {
                return Ok(store.swap_remove(at));
            }
        }
        system::map(bytes).map(|at| Block { at, bytes }).ok_or_else(|| too_large(bytes))
    }
}

#[cold]
fn too_large(bytes: usize) -> Error {
    Error::Memory(format!("cannot allocate {bytes} bytes for a result"))
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if let Ok(mut store) = STORE.try_lock() {
            let held: usize = store.iter().map(|b| b.bytes).sum();
            if store.len() < STORED && held + self.bytes <= STORED_BYTES {
                system::offer(self.at, self.bytes);
                store.push(Block { at: self.at, bytes: self.bytes });
                return;
            }
        }
        system::unmap(self.at, self.bytes);
    }
}

/// Gives the stored blocks back to the system.
pub fn release() {
    let blocks = STORE.try_lock().map(|mut s| std::mem::take(&mut *s)).unwrap_or_default();
    for b in blocks {
        system::unmap(b.at, b.bytes);
        std::mem::forget(b);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{HUGE, HUGE_FROM};

    /// `bytes` of zeroed memory, on a huge page's border if large.
    pub fn map(bytes: usize) -> Option<*mut u8> {
        let spare = if bytes >= HUGE_FROM { HUGE } else { 0 };
        let (kind, rights) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a fresh anonymous mapping; what lies before and after the border inside it is unmapped again.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), bytes + spare, rights, kind, -1, 0);
            if at == libc::MAP_FAILED {
                return None;
            }
            let at = at as *mut u8;
            if spare == 0 {
                return Some(at);
            }
            let skip = (at as usize).next_multiple_of(HUGE) - at as usize;
            if skip > 0 {
                libc::munmap(at.cast(), skip);
            }
            if spare > skip {
                libc::munmap(at.add(skip + bytes).cast(), spare - skip);
            }
            libc::madvise(at.add(skip).cast(), bytes, libc::MADV_HUGEPAGE);
            Some(at.add(skip))
        }
    }

    /// Lets the system take the pages if it needs them.
    pub fn offer(at: *mut u8, bytes: usize) {
        if bytes >= HUGE_FROM / 8 {
            // SAFETY: a mapping of ours that nobody uses.
            unsafe { libc::madvise(at.cast(), bytes, libc::MADV_FREE) };
        }
    }

    pub fn unmap(at: *mut u8, bytes: usize) {
        // SAFETY: a mapping of ours, whole, that nobody uses.
        unsafe { libc::munmap(at.cast(), bytes) };
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, super::PAGE).ok()
    }

    pub fn map(bytes: usize) -> Option<*mut u8> {
        // SAFETY: `bytes` is not zero.
        let at = unsafe { alloc_zeroed(layout(bytes)?) };
        (!at.is_null()).then_some(at)
    }

    pub fn offer(_at: *mut u8, _bytes: usize) {}

    pub fn unmap(at: *mut u8, bytes: usize) {
        if let Some(layout) = layout(bytes) {
            // SAFETY: allocated by `map` with this layout.
            unsafe { dealloc(at, layout) };
        }
    }
}

impl<T: Copy> Default for Buffer<T> {
    fn default() -> Self {
        Buffer {
            block: Block { at: std::ptr::NonNull::<u64>::dangling().as_ptr().cast(), bytes: 0 },
            len: 0,
            of: PhantomData,
        }
    }
}

impl<T: Copy> Buffer<T> {
    /// An empty buffer with room for `n` values.
    pub fn with_room(n: usize) -> Result<Self> {
        if n == 0 {
            return Ok(Buffer::default());
        }
        let bytes = n.checked_mul(size_of::<T>()).ok_or_else(|| too_large(usize::MAX))?;
        Ok(Buffer { block: Block::new(bytes)?, len: 0, of: PhantomData })
    }

    /// `n` numbers of any value, to be written: what the system or the last owner left there.
    pub fn numbers(n: usize) -> Result<Self>
    where
        T: Real,
    {
        let mut buffer = Buffer::with_room(n)?;
        // Blocks come zeroed from the system or written from the store, and all bytes are numbers.
        buffer.len = n;
        Ok(buffer)
    }

    /// Zeros behind the present values.
    pub fn extend_zeros(&mut self, n: usize) -> Result<()>
    where
        T: Real,
    {
        self.reserve(n)?;
        let from = self.len;
        self.len += n;
        self[from..].fill(T::ZERO);
        Ok(())
    }

    pub fn room(&self) -> usize {
        self.block.bytes / size_of::<T>()
    }

    /// Makes room for `more` values beyond the present ones.
    #[inline(always)]
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        if self.len + more > self.room() { self.grow(self.len + more) } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self, n: usize) -> Result<()> {
        let mut larger = Buffer::with_room(n.max(self.room() + self.room() / 2))?;
        // SAFETY: both blocks have room for the present values and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), larger.as_mut_ptr(), self.len) };
        larger.len = self.len;
        *self = larger;
        Ok(())
    }

    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.block.at.cast()
    }

    /// # Safety
    /// The first `len` values were written, and there is room for them.
    pub unsafe fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The memory itself, for another owner: its address stays.
    pub fn into_block(self) -> Block {
        self.block
    }
}

impl<T: Copy> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were written; an empty buffer's address is aligned for any number.
        unsafe { std::slice::from_raw_parts(self.block.at.cast(), self.len) }
    }
}

impl<T: Copy> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as `deref`; we are borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.block.at.cast(), self.len) }
    }
}

impl<T: Copy + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

/// Bytes that a list may take: `asked`, else 80 % of what the machine (or the container) has available.
fn limit(asked: Option<u64>) -> u64 {
    if let Some(bytes) = asked {
        return bytes;
    }
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let from_meminfo = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    let available = [from_meminfo, group].into_iter().flatten().min();
    available.map_or(u64::MAX, |bytes| bytes / 5 * 4)
}

/// Refuses a list of `edges` (an estimate or a count so far) of `bytes` in all if it is above the limit.
pub fn check(edges: f64, bytes: f64, cutoff: f64, density: f64, asked: Option<u64>) -> Result<()> {
    if asked.is_none() && bytes < ALWAYS_ALLOWED as f64 {
        return Ok(());
    }
    let limit = limit(asked);
    if bytes <= limit as f64 {
        return Ok(());
    }
    let density =
        if density.is_finite() { format!(", density {density:.3e} atoms per cubic Angstrom") } else { String::new() };
    Err(Error::Memory(format!(
        "a neighbor list of about {edges:.3e} edges needs {bytes:.3e} bytes and the limit is {limit} bytes (`cutoff` = \
         {cutoff} Angstrom{density}): use a smaller `cutoff`, or set `memory_limit`"
    )))
}
