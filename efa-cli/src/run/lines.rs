//! Carries the output of a rank to ours: whole lines, each with the rank before it.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much is read at once; a Linux pipe holds as much.
const CHUNK: usize = 64 * 1024;
/// A line longer than this is passed on in pieces, so that memory stays bounded when no newline ever comes.
const LONGEST_LINE: usize = 1024 * 1024;

/// Where the lines of all ranks come together.
pub(super) struct Sink<W> {
    out: Mutex<W>,
    /// How many forwarders hold bytes that have not been written yet.
    busy: AtomicUsize,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out: Mutex::new(out), busy: AtomicUsize::new(0) }
    }

    /// Returns `true` if nobody is about to write.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::SeqCst) == 0
    }

    /// Writes whole lines at once, so that those of different ranks never mix.
    pub(super) fn write(&self, lines: &[u8]) -> io::Result<()> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let result = out.write_all(lines).and_then(|()| out.flush());
        drop(out);
        self.busy.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// What is done to each line on its way.
#[derive(Clone, Debug)]
pub(super) struct Decoration {
    /// Put before every line; may be empty.
    pub(super) prefix: String,
    /// Whether a last line without a newline gets one, as it must where another rank's line may follow.
    pub(super) complete_last_line: bool,
}

/// Copies `source` to `sink` until its end.
///
/// # Errors
/// The sink can't be written to. A source that can't be read has ended.
pub(super) fn forward<W: Write>(
    mut source: impl Read,
    sink: &Sink<W>,
    decoration: &Decoration,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut unfinished = Vec::new();
    let mut decorated = Vec::new();
    loop {
        let read = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => &chunk[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let complete = read.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        if complete > 0 {
            unfinished.extend_from_slice(&read[..complete]);
            sink.write(decoration.apply(&unfinished, &mut decorated))?;
            unfinished.clear();
        }
        unfinished.extend_from_slice(&read[complete..]);
        if unfinished.len() > LONGEST_LINE {
            sink.write(decoration.finish(&mut unfinished, &mut decorated))?;
            unfinished.clear();
        }
    }
    if !unfinished.is_empty() {
        sink.write(decoration.finish(&mut unfinished, &mut decorated))?;
    }
    Ok(())
}

impl Decoration {
    /// Puts the prefix before each of `lines`; `space` is memory to do it in.
    fn apply<'a>(&self, lines: &'a [u8], space: &'a mut Vec<u8>) -> &'a [u8] {
        if self.prefix.is_empty() {
            return lines;
        }
        space.clear();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            space.extend_from_slice(self.prefix.as_bytes());
            space.extend_from_slice(line);
        }
        space
    }

    /// Does the same for a line that lacks its newline.
    fn finish<'a>(&self, line: &'a mut Vec<u8>, space: &'a mut Vec<u8>) -> &'a [u8] {
        if self.complete_last_line {
            line.push(b'\n');
        }
        self.apply(line, space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(source: &[u8], prefix: &str) -> Vec<u8> {
        let sink = Sink::new(Vec::new());
        let decoration = Decoration { prefix: prefix.into(), complete_last_line: true };
        forward(source, &sink, &decoration).expect("a vector takes everything");
        assert!(sink.is_idle());
        sink.out.into_inner().expect("nobody panicked")
    }

    #[test]
    fn every_line_gets_the_prefix_and_the_last_one_its_newline() {
        assert_eq!(forwarded(b"one\n\ntwo", "[3] "), b"[3] one\n[3] \n[3] two\n");
        assert_eq!(forwarded(b"", "[3] "), b"");
    }

    #[test]
    fn without_a_prefix_bytes_pass_as_they_are() {
        assert_eq!(forwarded(b"\xff\x00\n\r\n", ""), b"\xff\x00\n\r\n");
    }

    #[test]
    fn a_line_may_span_many_reads() {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut into[..1])
            }
        }
        let sink = Sink::new(Vec::new());
        let decoration = Decoration { prefix: "> ".into(), complete_last_line: true };
        forward(Trickle(b"ab\ncd\ne"), &sink, &decoration).expect("a vector takes everything");
        assert_eq!(sink.out.into_inner().expect("nobody panicked"), b"> ab\n> cd\n> e\n");
    }

    #[test]
    fn a_line_that_never_ends_is_passed_on_in_pieces() {
        let endless = vec![b'x'; 3 * LONGEST_LINE];
        let out = forwarded(&endless, "");
        let pieces: Vec<_> = out.split(|&byte| byte == b'\n').collect();
        assert!(pieces.len() > 2);
        assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), endless.len());
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST_LINE + CHUNK));
    }

    #[test]
    fn a_sink_that_fails_ends_the_forwarding() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let decoration = Decoration { prefix: String::new(), complete_last_line: true };
        let error = forward(&b"line\n"[..], &Sink::new(Full), &decoration).expect_err("the sink is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
