//! A clock that costs a load to read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Counts ticks of 10 ms. The progress thread moves it on; operations note when they started by it.
pub(crate) struct Clock {
    started: Instant,
    ticks: AtomicU32,
}

impl Clock {
    pub(crate) const TICK: Duration = Duration::from_millis(10);

    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), ticks: AtomicU32::new(0) }
    }

    /// The time in ticks, as of the last [`Clock::advance`].
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Reads the real clock.
    pub(crate) fn advance(&self) -> u32 {
        let ticks = (self.started.elapsed().as_millis() / Self::TICK.as_millis()) as u32;
        self.ticks.store(ticks, Ordering::Relaxed);
        ticks
    }

    /// How long it has been since `then`, to a tick.
    pub(crate) fn since(&self, then: u32) -> Duration {
        Self::TICK * self.advance().wrapping_sub(then)
    }

    /// How many ticks a duration has, at least one.
    pub(crate) fn ticks(duration: Duration) -> u32 {
        u32::try_from(duration.as_millis() / Self::TICK.as_millis()).unwrap_or(u32::MAX).max(1)
    }
}
