//! What a rank says of itself: a file per rank, a line per event, read by the driver while the rank writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Something that a rank reached or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The process runs; the text is its id.
    Started,
    /// It joined the job.
    Joined,
    /// A step of the workload begins; the text is its number.
    Step,
    /// The workload is done, leaving begins.
    Leaving,
    /// It brings about its fault now.
    Fault,
    /// A call of the library failed; the text is the kind of the error and its message.
    Failed,
    /// Something arrived that was not sent, or a result that must not be.
    Wrong,
    /// Everything succeeded.
    Done,
    /// The endpoint is closed. The text lists what the endpoint left behind.
    Left,
}

impl Event {
    const ALL: [Self; 9] = [
        Self::Started,
        Self::Joined,
        Self::Step,
        Self::Leaving,
        Self::Fault,
        Self::Failed,
        Self::Wrong,
        Self::Done,
        Self::Left,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Joined => "joined",
            Self::Step => "step",
            Self::Leaving => "leaving",
            Self::Fault => "fault",
            Self::Failed => "failed",
            Self::Wrong => "wrong",
            Self::Done => "done",
            Self::Left => "left",
        }
    }
}

/// Returns the microseconds since 1970, by a clock that is the same in all processes.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// Returns the report's path of a rank.
fn path(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("rank-{rank}"))
}

/// The rank's side.
pub(crate) struct Writer(File);

impl Writer {
    /// Opens the report of a rank.
    pub(crate) fn open(folder: &Path, rank: usize) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path(folder, rank)).map(Self)
    }

    /// Writes an event. Line breaks of the text become spaces.
    pub(crate) fn say(&self, event: Event, text: &str) {
        let line = format!("{} {} {}\n", now(), event.word(), text.replace('\n', " "));
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            eprintln!("cannot write the report: {error}");
        }
    }
}

/// A line of a report.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When, by [`now`].
    pub(crate) time: u64,
    pub(crate) event: Event,
    pub(crate) text: String,
}

/// Reads the report of a rank as far as it is written.
pub(crate) fn read(folder: &Path, rank: usize) -> Vec<Entry> {
    let bytes = std::fs::read(path(folder, rank)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Entry> {
    let mut parts = line.splitn(3, ' ');
    let time = parts.next()?.parse().ok()?;
    let word = parts.next()?;
    let event = Event::ALL.into_iter().find(|event| event.word() == word)?;
    Some(Entry { time, event, text: parts.next().unwrap_or("").to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_as_it_was_written_and_half_a_line_is_not() {
        let line = |event: Event| parse(&format!("12 {} some text", event.word())).expect("a line");
        for event in Event::ALL {
            let entry = line(event);
            assert_eq!((entry.time, entry.event, entry.text.as_str()), (12, event, "some text"));
        }
        assert!(parse("12").is_none() && parse("").is_none() && parse("x step 1").is_none());
    }
}
