//! Where the time of an op goes: timers of its stages, off unless asked for.
//!
//! A kernel says `let _timer = stages::start(Stage::Moments);` around a part that takes microseconds or more, never around one pair.
//! Off, that is one relaxed load; on, two readings of the monotonic clock and one addition. Times are sums over all
//! threads, so with one thread they are parts of the wall time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A part of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding pairs.
    Neighbors,
    /// Harmonics and radial functions.
    Basis,
    /// Sums of the pairs' products at each centre.
    Moments,
    /// Products of features, linear maps, contractions.
    Contract,
    /// Invariants of the coefficients.
    PowerSpectrum,
    /// Derivatives.
    Backward,
}

impl Stage {
    pub const ALL: [Stage; 6] =
        [Stage::Neighbors, Stage::Basis, Stage::Moments, Stage::Contract, Stage::PowerSpectrum, Stage::Backward];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Neighbors => "neighbors",
            Stage::Basis => "basis",
            Stage::Moments => "moments",
            Stage::Contract => "contract",
            Stage::PowerSpectrum => "power_spectrum",
            Stage::Backward => "backward",
        }
    }
}

static ON: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; Stage::ALL.len()] = [const { AtomicU64::new(0) }; Stage::ALL.len()];

/// Adds the time from its making to its end to a stage.
pub struct Timer {
    stage: Stage,
    began: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let spent = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        NANOSECONDS[self.stage as usize].fetch_add(spent, Ordering::Relaxed);
    }
}

/// Begins a stage, which ends with the scope of what is returned; None while timers are off.
#[must_use = "a timer runs until it is dropped"]
pub fn start(stage: Stage) -> Option<Timer> {
    ON.load(Ordering::Relaxed).then(|| Timer { stage, began: Instant::now() })
}

/// Turns all timers on, from zero, or off.
pub fn switch(on: bool) {
    if on {
        NANOSECONDS.iter().for_each(|n| n.store(0, Ordering::Relaxed));
    }
    ON.store(on, Ordering::Relaxed);
}

/// Seconds of each stage that was entered since the timers were turned on.
pub fn seconds() -> Vec<(&'static str, f64)> {
    let of = |s: Stage| (s.name(), 1e-9 * NANOSECONDS[s as usize].load(Ordering::Relaxed) as f64);
    Stage::ALL.into_iter().map(of).filter(|&(_, t)| t > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // One test, as the timers are of the whole process.
    #[test]
    fn a_stage_has_the_time_of_its_scope_and_only_while_timers_are_on() {
        assert!(start(Stage::Moments).is_none());
        switch(true);
        for _ in 0..2 {
            let _timer = start(Stage::Moments);
            std::thread::sleep(Duration::from_millis(5));
        }
        let kept = |found: &[(&'static str, f64)]| found.iter().find(|(n, _)| *n == "moments").map(|(_, t)| *t);
        assert!(kept(&seconds()).is_some_and(|t| (0.010..1.0).contains(&t)));
        switch(true);
        assert!(kept(&seconds()).is_none());
        switch(false);
        assert!(start(Stage::Moments).is_none());
        for (k, s) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(s as usize, k);
        }
    }
}
