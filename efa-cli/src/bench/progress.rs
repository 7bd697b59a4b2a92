//! A line on stderr that says how far a benchmark is; only where somebody is looking.

use std::io::{self, IsTerminal, Write};

/// Cells of the bar.
const WIDTH: usize = 24;
/// The progress of a benchmark through its sizes.
pub(crate) struct Progress<W: Write> {
    out: Option<W>,
    total: usize,
    drawn: bool,
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
        Self { out, total: total.max(1), drawn: false }
    }

    /// Shows that `done` steps are behind us and what is under way.
    pub(crate) fn show(&mut self, done: usize, what: &str) {
        let Some(out) = &mut self.out else { return };
        self.drawn = true;
        let share = (done as f64 / self.total as f64).min(1.0);
        let full = (share * WIDTH as f64).round() as usize;
        let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
        // A terminal that can't be written to is no reason to stop.
        let _ = write!(out, "\r\x1b[2K{bar} {:3.0}%  {what}", share * 100.0).and_then(|()| out.flush());
    }

    /// Takes the line away, so that a result can stand in its place.
    pub(crate) fn clear(&mut self) {
        if let (Some(out), true) = (&mut self.out, std::mem::take(&mut self.drawn)) {
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
        progress.show(1, "1 KiB");
        progress.clear();
        progress.clear();
        drop(progress);
        let expected = format!("\r\x1b[2K{}{}  25%  1 KiB\r\x1b[2K", "█".repeat(6), "░".repeat(18));
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn nobody_looking_means_nothing_written() {
        let mut progress = Progress::<Vec<u8>>::new(None, 4);
        progress.show(1, "1 KiB");
        progress.clear();
        assert!(!progress.drawn);
        let mut unseen = Progress::on_stderr(4);
        unseen.clear();
        assert!(!unseen.drawn);
    }
}
