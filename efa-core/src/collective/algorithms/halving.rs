//! What the algorithms by recursive halving share: a reduce-scatter among a power of two of ranks.
//!
//! Where the number of ranks is no power of two, each of the first few pairs of neighbours hands its elements to one of
//! the two first, which is the pair's *keeper*; the other folds. Ranks that don't fold have a *position*, in the order
//! of the ranks. The elements are cut in one part for each position. In each round a rank exchanges halves of what it
//! still has with the position that differs in one bit, the highest first, and combines what it gets with the half it
//! keeps. In the end each position has its own part of the result.

use std::ops::Range;

use super::aligned;
use crate::collective::Call;
use crate::collective::schedule::{BufferId, ScheduleBuilder, Span, StepId};

/// What a rank that folds hands over.
const FOLD_SLOT: u32 = 0;
/// What it gets back.
pub(super) const RESULT_SLOT: u32 = 1;
/// The exchange of the last round; those before follow.
const ROUND_SLOT: u32 = 2;

/// The positions of a group's ranks.
pub(super) struct Positions {
    /// The power of two.
    pub(super) count: usize,
    /// How many ranks are beyond it, and so how many pairs fold.
    extra: usize,
    /// A rank that never folds.
    stays: Option<usize>,
}

impl Positions {
    pub(super) fn new(size: usize, stays: Option<usize>) -> Self {
        let count = 1 << size.ilog2();
        Self { count, extra: size - count, stays }
    }

    /// Of a rank that folds, the keeper it hands over to.
    pub(super) fn keeper(&self, rank: usize) -> Option<usize> {
        let folds = rank < 2 * self.extra && self.folded(rank / 2) == rank;
        folds.then_some(rank ^ 1)
    }

    /// The other way round.
    pub(super) fn folded_to(&self, rank: usize) -> Option<usize> {
        let keeps = rank < 2 * self.extra && self.folded(rank / 2) != rank;
        keeps.then_some(rank ^ 1)
    }

    /// The rank of a pair that folds: the even one, unless it is to stay.
    fn folded(&self, pair: usize) -> usize {
        if self.stays == Some(2 * pair) { 2 * pair + 1 } else { 2 * pair }
    }

    pub(super) fn of(&self, rank: usize) -> usize {
        if rank < 2 * self.extra { rank / 2 } else { rank - self.extra }
    }

    pub(super) fn rank(&self, position: usize) -> usize {
        if position < self.extra { self.folded(position) ^ 1 } else { position + self.extra }
    }

    /// The ranks that a position stands for: itself, and the one that folded.
    pub(super) fn ranks(&self, position: usize) -> Range<usize> {
        match position < self.extra {
            true => 2 * position..2 * position + 2,
            false => position + self.extra..position + self.extra + 1,
        }
    }
}

/// Where a reduce-scatter by halving works, and how it cuts the elements.
pub(super) struct Halving<'a> {
    pub(super) rank: usize,
    pub(super) positions: &'a Positions,
    /// The whole contribution; the first element has the number 0.
    pub(super) mine: Span,
    /// Where partial sums lie, each element by its number; may be the contribution itself.
    pub(super) work: Span,
    /// Where in scratch elements arrive that are then combined into the work: `landing_len` elements.
    pub(super) landing: usize,
    /// The elements that a run of positions has.
    pub(super) elements: &'a dyn Fn(Range<usize>) -> Range<usize>,
}

/// What follows must know of it.
pub(super) struct Halved {
    /// The step that completed this position's part, if there was anything to combine.
    pub(super) complete: Option<StepId>,
    /// The send of the round with each bit, and the elements it gave away.
    pub(super) given: Vec<(Option<StepId>, Range<usize>)>,
}

impl Halving<'_> {
    /// Scratch that elements need that arrive while the contribution itself is worked on.
    pub(super) fn landing_len(&self) -> usize {
        let (position, count) = (self.positions.of(self.rank), self.positions.count);
        let folded = self.positions.folded_to(self.rank).map_or(0, |_| aligned(self.mine.len));
        let rounds = (0..count.ilog2()).map(|bit| aligned((self.elements)(kept(position, bit)).len()));
        folded + rounds.sum::<usize>()
    }

    /// Adds the steps of a rank that folds, and returns the send.
    pub(super) fn fold(&self, builder: &mut ScheduleBuilder, keeper: usize) -> Option<StepId> {
        (self.mine.len > 0).then(|| builder.send(keeper, FOLD_SLOT, self.mine, &[]))
    }

    /// Adds the steps of a rank that does not fold.
    pub(super) fn reduce_scatter(&self, builder: &mut ScheduleBuilder) -> Halved {
        let position = self.positions.of(self.rank);
        let mut landing = self.landing;
        let (mut current, mut complete) = (self.mine, None);
        let mut given = Vec::new();
        if let Some(folded) = self.positions.folded_to(self.rank) {
            let all = 0..self.mine.len;
            self.take(builder, folded, FOLD_SLOT, &all, &mut current, &mut complete, &mut landing);
        }
        for bit in (0..self.positions.count.ilog2()).rev() {
            let partner = self.positions.rank(position ^ (1 << bit));
            let keep = (self.elements)(kept(position, bit));
            let give = (self.elements)(kept(position ^ (1 << bit), bit));
            let slot = ROUND_SLOT + bit;
            let sent = (!give.is_empty())
                .then(|| builder.send(partner, slot, part(current, &give), complete.as_slice()));
            // What is sent from the contribution leaves the work as it is.
            given.push((sent.filter(|_| current == self.work), give));
            self.take(builder, partner, slot, &keep, &mut current, &mut complete, &mut landing);
        }
        given.reverse();
        Halved { complete, given }
    }

    /// Receives elements and combines them with what there is of them.
    #[allow(clippy::too_many_arguments)]
    fn take(
        &self,
        builder: &mut ScheduleBuilder,
        from: usize,
        slot: u32,
        elements: &Range<usize>,
        current: &mut Span,
        complete: &mut Option<StepId>,
        landing: &mut usize,
    ) {
        let into = part(self.work, elements);
        if *current != self.work {
            // The first to arrive: it lands where the contribution is added to it.
            *current = self.work;
            if !elements.is_empty() {
                let received = builder.receive(from, slot, into, &[]);
                *complete = Some(builder.reduce(part(self.mine, elements), into, &[received]));
            }
        } else if !elements.is_empty() {
            let source = Span::new(BufferId::Scratch, *landing, elements.len());
            *landing += aligned(elements.len());
            let received = builder.receive(from, slot, source, &[]);
            let after = Vec::from_iter([received].into_iter().chain(*complete));
            *complete = Some(builder.reduce(source, into, &after));
        }
    }
}

/// The positions whose parts a position still has after the round with `bit`.
pub(super) fn kept(position: usize, bit: u32) -> Range<usize> {
    let first = position >> bit << bit;
    first..first + (1 << bit)
}

/// Some elements of a buffer that begins at `whole`, by their numbers.
pub(super) fn part(whole: Span, elements: &Range<usize>) -> Span {
    Span { start: whole.start + elements.start, len: elements.len(), ..whole }
}

/// The slot of the exchange with `bit` that follows the halving, the other way round.
pub(super) fn doubling_slot(positions: &Positions, bit: u32) -> u32 {
    ROUND_SLOT + positions.count.ilog2() + bit
}

/// The elements of a run of positions where the whole is cut as equal as can be.
pub(super) fn equal_parts(call: &Call, positions: &Positions, run: Range<usize>) -> Range<usize> {
    let at = |position| super::block(BufferId::Output, call.elements, positions.count, position);
    at(run.start).start..at(run.end - 1).range().end
}
