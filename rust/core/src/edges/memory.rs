//! Large result buffers and the limit on them.

use crate::error::{Error, Result};

/// Below this the limit is not looked up: asking the system costs more than a small list.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Buffers above this ask for huge pages: a page fault each 4 KiB was over a tenth of a list's time.
const HUGE_FROM: usize = 4 << 20;

/// An empty vector with room for `n` values, none of it touched yet.
pub fn buffer<T: Copy>(n: usize) -> Result<Vec<T>> {
    let mut v: Vec<T> = Vec::new();
    let bytes = n.saturating_mul(size_of::<T>());
    v.try_reserve_exact(n).map_err(|_| Error::Memory(format!("cannot allocate {bytes} bytes for a neighbor list")))?;
    #[cfg(target_os = "linux")]
    if bytes >= HUGE_FROM {
        const PAGE: usize = 4096;
        let (start, end) = (v.as_ptr() as usize, v.as_ptr() as usize + bytes);
        let (from, to) = (start.next_multiple_of(PAGE), end & !(PAGE - 1));
        // SAFETY: whole pages inside our own allocation; the advice changes how they are backed, not what they hold.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = HUGE_FROM;
    Ok(v)
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
    Err(Error::Memory(format!(
        "a neighbor list of about {edges:.3e} edges needs {bytes:.3e} bytes and the limit is {limit} bytes (`cutoff` = \
         {cutoff} Angstrom, density {density:.3e} atoms per cubic Angstrom): use a smaller `cutoff`, or set `memory_limit`"
    )))
}
