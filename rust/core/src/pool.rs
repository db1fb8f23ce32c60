//! A private thread pool, one per process id and thread count; serial below the size where threads pay.
//!
//! Nothing may enter rayon's global pool: a forked child would wait for threads that it does not have.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Work below this many nanoseconds runs on the calling thread: entering the pool cost 7 to 16 microseconds where
/// it was measured (2 cores), so a shorter job would lose more than a second thread can win.
pub const SERIAL_BELOW_NS: usize = 40_000;

struct Slot {
    pid: u32,
    threads: usize,
    pool: ThreadPool,
    /// The one that was made before it.
    next: Option<&'static Slot>,
}

// The newest slot. An atomic pointer, not a lock: a lock that another thread holds at the moment of a fork stays locked in the child.
static SLOT: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());
/// 0: not set by the caller, the environment decides.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Threads that every kernel uses: the last [`set_num_threads`], else `VALENCE_NUM_THREADS`, else what the operating
/// system lets this process use.
pub fn num_threads() -> usize {
    match ASKED.load(Ordering::Relaxed) {
        0 => {
            let from_env = std::env::var("VALENCE_NUM_THREADS").ok().and_then(|v| v.trim().parse().ok());
            let n = from_env.filter(|&n| n > 0);
            let n = n.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
            ASKED.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}

/// Sets the number of threads of every later call. Results do not depend on it.
pub fn set_num_threads(n: usize) -> Result<()> {
    if n == 0 || n > 4096 {
        return Err(Error::value("n", "a number of threads from 1 to 4096", n));
    }
    ASKED.store(n, Ordering::Relaxed);
    Ok(())
}

/// The pool of this process. After `fork` the parent's worker threads do not exist in the child, and a job
/// sent to them would wait for ever; the process id tells the two apart.
fn pool() -> Option<&'static ThreadPool> {
    let (pid, threads) = (std::process::id(), num_threads());
    let seen = SLOT.load(Ordering::Acquire);
    // SAFETY: a slot, once stored, is never freed: others may be using it, and the destructor of a parent's would wait for
    // threads that are not there. There is one a process and thread count.
    let newest = unsafe { seen.as_ref() };
    let mut at = newest;
    while let Some(slot) = at {
        if slot.pid == pid && slot.threads == threads {
            return Some(&slot.pool);
        }
        at = slot.next;
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("valence-{i}")).build().ok()?;
    let fresh = Box::leak(Box::new(Slot { pid, threads, pool, next: newest }));
    let _ = SLOT.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire);
    Some(&fresh.pool)
}

/// Runs `job` inside the pool if `work_ns` of serial work pays for entering it, else on the calling thread.
/// The job is told how many threads it has; rayon's own calls inside it go to our pool.
pub fn run<R: Send>(work_ns: usize, job: impl FnOnce(usize) -> R + Send) -> R {
    if work_ns >= SERIAL_BELOW_NS
        && num_threads() > 1
        && let Some(pool) = pool()
    {
        let threads = pool.current_num_threads();
        return pool.install(|| job(threads));
    }
    job(1)
}

/// Fills `out` block by block: `block(first_row, rows_out)` for consecutive runs of rows of `width` values.
/// `cost_ns` is what one row costs serially. Each row is written by one thread and no sum crosses rows, so the result
/// does not depend on the thread count.
pub fn for_each_block<T, F>(out: &mut [T], width: usize, cost_ns: usize, block: F)
where
    T: Send,
    F: Fn(usize, &mut [T]) + Sync + Send,
{
    if out.is_empty() || width == 0 {
        return;
    }
    let rows = out.len() / width;
    run(rows * cost_ns, |threads| {
        if threads == 1 {
            return block(0, out);
        }
        let size = rows.div_ceil(8 * threads).max(64).next_multiple_of(8);
        out.par_chunks_mut(size * width).enumerate().for_each(|(b, chunk)| block(b * size, chunk));
    });
}

/// [`for_each_block`] row by row: `row(index, row_out)`.
pub fn for_each_row<T, F>(out: &mut [T], width: usize, cost_ns: usize, row: F)
where
    T: Send,
    F: Fn(usize, &mut [T]) + Sync + Send,
{
    for_each_block(out, width, cost_ns, |first, chunk| {
        chunk.chunks_exact_mut(width).enumerate().for_each(|(i, o)| row(first + i, o));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_count_that_comes_again_has_its_pool_again() {
        let all = |pid: u32| {
            // SAFETY: as in `pool`.
            let mut at = unsafe { SLOT.load(Ordering::Acquire).as_ref() };
            let mut found = Vec::new();
            while let Some(slot) = at {
                found.extend((slot.pid == pid && slot.threads > 4).then_some(slot.threads));
                at = slot.next;
            }
            found.sort_unstable();
            found
        };
        // Tests share the count of threads, so one may be left out, but none comes twice.
        for n in [5, 6, 5, 6, 5, 6] {
            set_num_threads(n).unwrap();
            run(SERIAL_BELOW_NS, |_| ());
        }
        let mut found = all(std::process::id());
        let before = found.len();
        found.dedup();
        assert_eq!(before, found.len());
    }

    #[test]
    fn rows_are_the_same_for_any_number_of_threads() {
        let fill = |threads: usize| {
            set_num_threads(threads).unwrap();
            let mut out = vec![0.0f64; 3 * 10_001];
            for_each_row(&mut out, 3, 100, |i, o| {
                o.copy_from_slice(&[i as f64, (i as f64).sin(), threads_do_not_matter()])
            });
            out
        };
        fn threads_do_not_matter() -> f64 {
            1.0
        }
        assert_eq!(fill(1), fill(3));
        assert!(set_num_threads(0).is_err());
    }
}
