//! A clock that costs a load to read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest time between two looks at the real clock that counts. The progress thread looks every few milliseconds;
/// when it did not for this long, the whole process did not run: somebody stopped it, or the machine slept.
const LONGEST_GAP: u64 = 1000;

/// Counts ticks of 10 ms while the process runs. The progress thread moves it on; operations note when they started by
/// it. Time for which the process was stopped (`SIGSTOP`, a debugger) does not count.
pub(crate) struct Clock {
    started: Instant,
    ticks: AtomicU32,
    looks: Mutex<Looks>,
}

/// What is known of the real clock, in milliseconds since the start.
#[derive(Default)]
struct Looks {
    /// The time of the last look.
    last: u64,
    /// The time since the start that does not count.
    skipped: u64,
}

impl Clock {
    pub(crate) const TICK: Duration = Duration::from_millis(10);

    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), ticks: AtomicU32::new(0), looks: Mutex::default() }
    }

    /// The time in ticks, as of the last [`Clock::advance`].
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Reads the real clock.
    pub(crate) fn advance(&self) -> u32 {
        let mut looks = self.looks();
        self.advance_to(&mut looks, self.milliseconds())
    }

    fn advance_to(&self, looks: &mut Looks, now: u64) -> u32 {
        let gap = now.saturating_sub(looks.last);
        if gap > LONGEST_GAP {
            looks.skipped += gap;
        }
        looks.last = now;
        // Wraps after 497 days; ticks are only ever compared by their difference.
        let ticks = ((now - looks.skipped) / Self::TICK.as_millis() as u64) as u32;
        self.ticks.store(ticks, Ordering::Relaxed);
        ticks
    }

    /// Whether nobody has looked at the real clock for so long that the progress thread must be held up.
    pub(crate) fn is_held_up(&self) -> bool {
        self.milliseconds().saturating_sub(self.looks().last) > LONGEST_GAP / 2
    }

    /// How long it has been since `then`, to a tick.
    pub(crate) fn since(&self, then: u32) -> Duration {
        Self::TICK * self.advance().wrapping_sub(then)
    }

    /// How many ticks a duration has, at least one.
    pub(crate) fn ticks(duration: Duration) -> u32 {
        u32::try_from(duration.as_millis() / Self::TICK.as_millis()).unwrap_or(u32::MAX).max(1)
    }

    fn milliseconds(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_which_the_process_was_stopped_does_not_count() {
        let (clock, mut looks) = (Clock::start(), Looks::default());
        assert_eq!(clock.advance_to(&mut looks, 900), 90);
        // Ten minutes go by without a look.
        assert_eq!(clock.advance_to(&mut looks, 600_900), 90);
        assert_eq!(clock.advance_to(&mut looks, 601_000), 100);
    }

    #[test]
    fn a_tick_that_wraps_around_is_later_than_one_before() {
        let clock = Clock::start();
        let now = (u64::from(u32::MAX) - 5) * 10;
        let mut looks = Looks { last: now, skipped: 0 };
        let then = clock.advance_to(&mut looks, now);
        assert_eq!(then, u32::MAX - 5);
        assert_eq!(clock.advance_to(&mut looks, now + 100).wrapping_sub(then), 10);
    }
}
