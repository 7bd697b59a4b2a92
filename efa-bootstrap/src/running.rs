//! Time that counts only while this process runs.

use std::time::{Duration, Instant};

/// The longest step between two looks that counts. Whoever waits by this clock looks more often; when it did not, the
/// process was stopped, or the machine slept.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A clock that leaves out the time for which this process was stopped (`SIGSTOP`, a debugger). Whoever waits by it sleeps
/// [`RunningTime::NAP`] at a stretch and looks again.
pub(super) struct RunningTime {
    looked: Instant,
    counted: Duration,
}

impl RunningTime {
    /// How long to wait between two looks, at most.
    pub(super) const NAP: Duration = Duration::from_millis(250);

    /// Starts a clock at zero.
    pub(super) fn start() -> Self {
        Self { looked: Instant::now(), counted: Duration::ZERO }
    }

    /// Returns the time since the start.
    pub(super) fn now(&mut self) -> Duration {
        self.look(Instant::now())
    }

    /// Returns what is left until a time on this clock.
    pub(super) fn left(&mut self, until: Duration) -> Duration {
        until.saturating_sub(self.now())
    }

    /// Returns how long to sleep before the next look, if it ends at that time.
    pub(super) fn nap(&mut self, until: Duration) -> Duration {
        self.left(until).min(Self::NAP)
    }

    fn look(&mut self, now: Instant) -> Duration {
        let step = now.saturating_duration_since(self.looked);
        if step <= LONGEST_STEP {
            self.counted += step;
        }
        self.looked = now;
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_which_the_process_was_stopped_does_not_count() {
        let mut clock = RunningTime::start();
        let start = clock.looked;
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(clock.look(after(900)), Duration::from_millis(900));
        // Ten minutes go by without a look.
        assert_eq!(clock.look(after(600_900)), Duration::from_millis(900));
        assert_eq!(clock.look(after(601_000)), Duration::from_millis(1000));
    }
}
