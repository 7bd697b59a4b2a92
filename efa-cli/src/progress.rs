//! A line on stderr that says how far a benchmark is; only where somebody is looking.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Cells of the bar.
const WIDTH: usize = 24;
/// Redrawing more often would cost time that the benchmark measures.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// The progress of a benchmark through its sizes.
pub(crate) struct Progress<W: Write> {
    out: Option<W>,
    total: usize,
    drawn: Option<Instant>,
}

impl Progress<io::Stderr> {
    /// Progress over `total` steps: on stderr if it is a terminal, else nowhere.
    pub(crate) fn on_stderr(total: usize) -> Self {
        let stderr = io::stderr();
        Self::new(stderr.is_terminal().then_some(stderr), total)
    }
}

impl<W: Write> Progress<W> {
    fn new(out: Option<W>, total: usize) -> Self {
        Self { out, total: total.max(1), drawn: None }
    }

    /// Shows that step `done` is under way, `part` (0 to 1) of it behind us.
    pub(crate) fn show(&mut self, done: usize, part: f64, what: &str) {
        let Some(out) = &mut self.out else { return };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW_EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = ((done as f64 + part.clamp(0.0, 1.0)) / self.total as f64).min(1.0);
        let full = (share * WIDTH as f64).round() as usize;
        let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
        // A terminal that can't be written to is no reason to stop.
        let _ = write!(out, "\r\x1b[2K{bar} {:3.0}%  {what}", share * 100.0).and_then(|()| out.flush());
    }

    /// Takes the line away, so that a result can stand in its place.
    pub(crate) fn clear(&mut self) {
        if let (Some(out), Some(_)) = (&mut self.out, self.drawn.take()) {
            let _ = write!(out, "\r\x1b[2K").and_then(|()| out.flush());
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_leaves_no_trace() {
        let mut out = Vec::new();
        let mut progress = Progress::new(Some(&mut out), 4);
        progress.show(1, 0.0, "1 KiB");
        progress.show(2, 0.0, "drawn too soon to be seen");
        drop(progress);
        let expected = format!("\r\x1b[2K{}{}  25%  1 KiB\r\x1b[2K", "█".repeat(6), "░".repeat(18));
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn nobody_looking_means_nothing_written() {
        let mut progress = Progress::<Vec<u8>>::new(None, 4);
        progress.show(1, 0.5, "1 KiB");
        progress.clear();
        assert!(progress.drawn.is_none());
        let mut unseen = Progress::on_stderr(4);
        unseen.clear();
        assert!(unseen.drawn.is_none());
    }
}
