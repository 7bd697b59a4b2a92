//! Whether a schedule keeps the promises that [`schedule`](super::schedule) makes to executors.

use std::collections::HashSet;

use super::ranges::RangeMap;
use super::schedule::{Action, BufferId, Schedule, Span, StepId};
use crate::{Error, Result};

impl Schedule {
    /// Checks that all spans lie inside their buffers and match in length, that the input is not written, that peers
    /// and slots make sense, and that any two steps that touch the same element, one of them writing, are ordered.
    ///
    /// For tests: it takes far longer than making the schedule.
    ///
    /// # Errors
    /// [`Error::Misuse`] names the first step that breaks a rule.
    pub fn validate(&self) -> Result<()> {
        let mut order = Order::new(self);
        let mut buffers = [RangeMap::new(), RangeMap::new(), RangeMap::new()];
        let mut messages = HashSet::new();
        for (id, step) in self.steps().iter().enumerate() {
            let refuse = |why: String| Err(self.broken(id as StepId, why));
            let (read, written) = touched(&step.action);
            for span in read.into_iter().chain(written) {
                if span.start.checked_add(span.len).is_none_or(|end| end > self.len_of(span.buffer)) {
                    return refuse(format!("{:?} has {} elements", span.buffer, self.len_of(span.buffer)));
                }
            }
            if written.is_some_and(|span| span.buffer == BufferId::Input) {
                return refuse("the input is not to be written".into());
            }
            match step.action {
                Action::Send { to: peer, slot, .. } | Action::Receive { from: peer, slot, .. } => {
                    if peer >= self.size() || peer == self.rank() {
                        return refuse("the peer is not another rank of the group".into());
                    }
                    if !messages.insert((peer, slot, read.is_some())) {
                        return refuse("the slot is in use already".into());
                    }
                }
                Action::Reduce { source, into, .. } | Action::Copy { source, into } => {
                    if source.len != into.len || source.overlaps(into) {
                        return refuse("the spans differ in length or overlap".into());
                    }
                }
            }
            // Checking against the last writer and the readers since is enough: they are ordered after all before.
            if let Some(span) = read
                && let Some(other) =
                    note_read(&mut buffers[span.buffer as usize], span, id as StepId, &mut order)
            {
                return refuse(format!("step {other} may write there at the same time"));
            }
            if let Some(span) = written
                && let Some(other) =
                    note_write(&mut buffers[span.buffer as usize], span, id as StepId, &mut order)
            {
                return refuse(format!("step {other} may use that at the same time"));
            }
        }
        Ok(())
    }

    fn broken(&self, step: StepId, why: String) -> Error {
        Error::misuse(
            format!(
                "cannot run {} by {} at rank {} of {}, step {step} {:?}",
                self.collective(),
                self.algorithm(),
                self.rank(),
                self.size(),
                self.steps()[step as usize].action
            ),
            why,
            "correct the algorithm that made the schedule",
        )
    }
}

/// Who used a range of elements last.
#[derive(Clone, Default)]
struct Access {
    writer: Option<StepId>,
    /// Those that read since.
    readers: Vec<StepId>,
}

/// What a step reads and what it writes. A reduction reads what it writes, which the write covers.
fn touched(action: &Action) -> (Option<Span>, Option<Span>) {
    match *action {
        Action::Send { span, .. } => (Some(span), None),
        Action::Receive { span, .. } => (None, Some(span)),
        Action::Reduce { source, into, .. } | Action::Copy { source, into } => (Some(source), Some(into)),
    }
}

/// Enters a read, and returns a writer that is not ordered before it.
fn note_read(buffer: &mut RangeMap<Access>, span: Span, step: StepId, order: &mut Order) -> Option<StepId> {
    let mut conflict = None;
    let mut next = span.start;
    for (range, mut access) in buffer.remove(span.range()) {
        if let Some(writer) = access.writer
            && !order.holds(writer, step)
        {
            conflict = Some(writer);
        }
        buffer.insert(next..range.start, Access { writer: None, readers: vec![step] });
        next = range.end;
        access.readers.push(step);
        buffer.insert(range, access);
    }
    buffer.insert(next..span.range().end, Access { writer: None, readers: vec![step] });
    conflict
}

/// Enters a write, and returns a step that used the elements and is not ordered before it.
fn note_write(buffer: &mut RangeMap<Access>, span: Span, step: StepId, order: &mut Order) -> Option<StepId> {
    let before = buffer.remove(span.range());
    buffer.insert(span.range(), Access { writer: Some(step), readers: Vec::new() });
    before
        .into_iter()
        .flat_map(|(_, access)| access.readers.into_iter().chain(access.writer))
        .find(|&earlier| earlier != step && !order.holds(earlier, step))
}

/// Answers whether one step is always done before another starts.
struct Order<'a> {
    schedule: &'a Schedule,
    /// The search in which a step was last visited.
    visited: Vec<u32>,
    search: u32,
    stack: Vec<StepId>,
}

impl<'a> Order<'a> {
    fn new(schedule: &'a Schedule) -> Self {
        Self { schedule, visited: vec![0; schedule.steps().len()], search: 0, stack: Vec::new() }
    }

    /// True when `later` waits for `earlier`, directly or not.
    fn holds(&mut self, earlier: StepId, later: StepId) -> bool {
        self.search += 1;
        self.stack.clear();
        self.stack.push(later);
        while let Some(step) = self.stack.pop() {
            if step == earlier {
                return true;
            }
            for &dependency in self.schedule.dependencies(step) {
                // Whatever comes before `earlier` in the list can't wait for it.
                if dependency >= earlier && self.visited[dependency as usize] != self.search {
                    self.visited[dependency as usize] = self.search;
                    self.stack.push(dependency);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::ScheduleBuilder;
    use super::super::{Algorithm, Call, Collective};
    use super::*;

    fn check<R>(build: impl FnOnce(&mut ScheduleBuilder) -> R) -> Result<()> {
        let call = Call::new(Collective::AllReduce, 0, 4, 100);
        let mut builder = ScheduleBuilder::new(&call, Algorithm::Ring, 50);
        build(&mut builder);
        builder.finish().validate()
    }

    fn output(start: usize, len: usize) -> Span {
        Span::new(BufferId::Output, start, len)
    }

    #[test]
    fn unordered_steps_may_share_what_both_read_and_nothing_else() {
        let input = Span::new(BufferId::Input, 0, 100);
        assert!(check(|b| (b.send(1, 0, input, &[]), b.send(2, 0, input, &[]))).is_ok());
        assert!(
            check(|b| (b.receive(1, 0, output(0, 50), &[]), b.receive(2, 0, output(50, 50), &[]))).is_ok()
        );
        // Two writes; a read, then a write; a write, then a read.
        assert!(
            check(|b| (b.receive(1, 0, output(0, 51), &[]), b.receive(2, 0, output(50, 50), &[]))).is_err()
        );
        assert!(check(|b| (b.send(1, 0, output(0, 51), &[]), b.receive(2, 0, output(50, 50), &[]))).is_err());
        assert!(check(|b| (b.receive(1, 0, output(0, 51), &[]), b.send(2, 0, output(50, 50), &[]))).is_err());
    }

    #[test]
    fn order_may_be_indirect() {
        let build = |linked: bool| {
            check(|b| {
                let first = b.receive(1, 0, output(0, 10), &[]);
                let between = b.receive(1, 1, output(10, 10), &[first]);
                b.send(1, 0, output(0, 10), if linked { std::slice::from_ref(&between) } else { &[] });
            })
        };
        assert!(build(true).is_ok());
        assert!(build(false).unwrap_err().to_string().contains("step 0 may write there"));
    }

    #[test]
    fn a_reader_between_two_writers_is_not_forgotten() {
        let error = check(|b| {
            let first = b.receive(1, 0, output(0, 10), &[]);
            b.send(2, 0, output(5, 1), &[first]);
            b.receive(1, 1, output(0, 10), &[first]);
        });
        assert!(error.unwrap_err().to_string().contains("step 1 may use that"));
    }

    #[test]
    fn spans_peers_slots_and_lengths_must_make_sense() {
        let input = Span::new(BufferId::Input, 0, 10);
        let scratch = |start| Span::new(BufferId::Scratch, start, 10);
        assert!(check(|b| b.send(1, 0, output(91, 10), &[])).is_err());
        assert!(check(|b| b.receive(1, 0, scratch(41), &[])).is_err());
        assert!(check(|b| b.receive(1, 0, scratch(usize::MAX), &[])).is_err());
        assert!(check(|b| b.receive(1, 0, input, &[])).is_err());
        assert!(check(|b| b.send(0, 0, input, &[])).is_err());
        assert!(check(|b| b.send(4, 0, input, &[])).is_err());
        assert!(check(|b| (b.send(1, 7, input, &[]), b.send(1, 7, input, &[]))).is_err());
        assert!(check(|b| b.copy(input, output(0, 9), &[])).is_err());
        assert!(check(|b| b.reduce(output(0, 10), output(9, 10), &[])).is_err());
    }
}
