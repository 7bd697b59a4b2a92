//! What the ring algorithms share: the two ways around the ring, in pieces.
//!
//! Every rank sends to the next rank only and receives from the one before it. Around the ring go blocks, one for
//! each rank. In step `s` of a reduce-scatter a rank passes on block `rank - 1 - s` and receives `rank - 2 - s`, so
//! that its own block arrives last, with everybody else's contribution in it. In step `s` of an all-gather it passes
//! on block `rank - s` and receives `rank - 1 - s`. Blocks are cut in pieces: a piece is reduced and passed on while
//! the next one arrives.

use std::ops::Range;

use super::{LANDINGS, aligned, block, pieces};
use crate::collective::schedule::{BufferId, ScheduleBuilder, Span, StepId};
use crate::collective::{Call, Collective};

/// At most this many messages per rank and way around, or one per block: bounds the size of a schedule where blocks
/// are huge or segments tiny.
const MAX_MESSAGES: usize = 1 << 20;

/// One rank's place on the ring, and how the data is cut.
pub(super) struct Ring {
    rank: usize,
    size: usize,
    /// The block of each rank.
    blocks: Vec<Range<usize>>,
    /// Elements of the longest block.
    longest: usize,
    /// Elements of a piece, but for the last of a block.
    segment: usize,
}

/// Where a reduce-scatter finds this rank's contribution and gathers the partial sums that it passes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    /// Contribution in the input; partial sums in the output, which has room for all blocks and holds nothing yet.
    Output,
    /// Both in the output: pieces arrive in a window of scratch and are added to it.
    OutputThroughWindow,
    /// Contribution in the input; partial sums in scratch, where blocks lie in two places in turn, as the output has
    /// room for one block only.
    Scratch,
}

/// Pieces of a block, each with the step that completes it, if there is one.
pub(super) type Pieces = Vec<(Span, Option<StepId>)>;

/// What follows a reduce-scatter must know of it.
pub(super) struct Reduced {
    /// This rank's own block.
    pub(super) own: Pieces,
    /// For each step and piece, the send; after it the block it passed on is no longer needed.
    pub(super) sends: Vec<Vec<StepId>>,
}

impl Ring {
    /// The ring for `call`, with its blocks, or for an all-reduce such as are as equal as can be.
    pub(super) fn new(call: &Call, segment: usize) -> Self {
        let block_of = |rank| match call.collective {
            Collective::AllReduce => block(BufferId::Output, call.elements, call.size, rank).range(),
            _ => call.block(rank),
        };
        let blocks = Vec::from_iter((0..call.size).map(block_of));
        let longest = blocks.iter().map(|block| block.len()).max().unwrap_or(0);
        let segment = segment.max(longest.div_ceil((MAX_MESSAGES / call.size).max(1))).min(longest.max(1));
        Self { rank: call.rank, size: call.size, blocks, longest, segment }
    }

    /// Scratch that [`reduce_scatter`](Self::reduce_scatter) needs.
    pub(super) fn scratch(&self, partial: Partial) -> usize {
        match partial {
            _ if self.size == 1 || self.longest == 0 => 0,
            Partial::Output => 0,
            Partial::OutputThroughWindow => self.window() * aligned(self.segment),
            // The last block goes to the output; up to two more are under way.
            Partial::Scratch => (self.size - 2).min(2) * aligned(self.longest),
        }
    }

    /// The pieces of the block of `rank`, counted around the ring, in `buffer`.
    pub(super) fn pieces_of(&self, buffer: BufferId, rank: usize) -> Vec<Span> {
        let Range { start, end } = self.blocks[rank % self.size];
        pieces(Span::new(buffer, start, end - start), self.segment).collect()
    }

    /// The pieces of a rank's block where it lies alone.
    pub(super) fn pieces_at(&self, block: Span) -> Vec<Span> {
        pieces(block, self.segment).collect()
    }

    /// Reduces every block around the ring to the rank it belongs to, where it comes to lie in the output from `own`
    /// on.
    pub(super) fn reduce_scatter(
        &self,
        builder: &mut ScheduleBuilder,
        partial: Partial,
        own: usize,
    ) -> Reduced {
        let (rank, size) = (self.rank, self.size);
        let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
        let through_window = partial == Partial::OutputThroughWindow;
        let local = if through_window { BufferId::Output } else { BufferId::Input };
        let mut sends: Vec<Vec<StepId>> = Vec::new();
        let mut reductions: Vec<StepId> = Vec::new();
        // What the next step passes on.
        let mut held = unconditional(self.pieces_of(local, rank + size - 1));
        for step in 0..size - 1 {
            let arriving = self.pieces_of(local, rank + 2 * size - 2 - step);
            let mut sent = Vec::new();
            let mut arrived = Pieces::new();
            for k in 0..held.len().max(arriving.len()) {
                let slot = self.slot(step, k);
                if let Some((span, complete)) = held.get(k) {
                    sent.push(builder.send(next, slot, *span, complete.as_slice()));
                }
                let Some(&mine) = arriving.get(k) else { continue };
                let (landing, free) = match partial {
                    Partial::OutputThroughWindow => self.window_place(mine, &reductions),
                    _ if step == size - 2 => {
                        (Span { buffer: BufferId::Output, start: own + k * self.segment, ..mine }, None)
                    }
                    Partial::Output => (Span { buffer: BufferId::Output, ..mine }, None),
                    Partial::Scratch => self.scratch_place(mine, step, k, &sends),
                };
                let received = builder.receive(previous, slot, landing, free.as_slice());
                let (source, sum) = if through_window { (landing, mine) } else { (mine, landing) };
                let complete = builder.reduce(source, sum, &[received]);
                reductions.push(complete);
                arrived.push((sum, Some(complete)));
            }
            sends.push(sent);
            held = arrived;
        }
        Reduced { own: held, sends }
    }

    /// Passes every block around the ring to all ranks, beginning with the own one. The others are received into the
    /// output, each piece of step `s` after its entry in `free[s]`. Slots are those of steps from `first_step` on.
    pub(super) fn all_gather(
        &self,
        builder: &mut ScheduleBuilder,
        own: Pieces,
        free: &[Vec<StepId>],
        first_step: usize,
    ) {
        let (rank, size) = (self.rank, self.size);
        let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
        let mut held = own;
        for step in 0..size - 1 {
            let arriving = self.pieces_of(BufferId::Output, rank + size - 1 - step);
            let mut arrived = Pieces::new();
            for k in 0..held.len().max(arriving.len()) {
                let slot = self.slot(first_step + step, k);
                if let Some((span, complete)) = held.get(k) {
                    builder.send(next, slot, *span, complete.as_slice());
                }
                if let Some(&piece) = arriving.get(k) {
                    let after = free.get(step).and_then(|sends| sends.get(k)).copied();
                    arrived.push((piece, Some(builder.receive(previous, slot, piece, after.as_slice()))));
                }
            }
            held = arrived;
        }
    }

    /// The next place in the window, for a piece, and the reduction that emptied it, given all so far.
    fn window_place(&self, piece: Span, reductions: &[StepId]) -> (Span, Option<StepId>) {
        let (window, count) = (self.window(), reductions.len());
        let start = count % window * aligned(self.segment);
        let emptied = count.checked_sub(window).map(|oldest| reductions[oldest]);
        (Span { buffer: BufferId::Scratch, start, ..piece }, emptied)
    }

    /// The place in scratch for piece `k` of a step, and the send that emptied it, given those of the steps before.
    fn scratch_place(
        &self,
        piece: Span,
        step: usize,
        k: usize,
        sends: &[Vec<StepId>],
    ) -> (Span, Option<StepId>) {
        let start = step % 2 * aligned(self.longest) + k * self.segment;
        // The step before passed on what lay here, or an earlier one if that block had fewer pieces.
        let emptied = (1..step).rev().step_by(2).find_map(|before| sends[before].get(k).copied());
        (Span { buffer: BufferId::Scratch, start, ..piece }, emptied)
    }

    fn slot(&self, step: usize, piece: usize) -> u32 {
        (step * self.longest.div_ceil(self.segment) + piece) as u32
    }

    /// Places in the window: no more than there are messages.
    fn window(&self) -> usize {
        LANDINGS.min(self.longest.div_ceil(self.segment) * (self.size - 1))
    }
}

/// Pieces that are complete from the start.
pub(super) fn unconditional(pieces: Vec<Span>) -> Pieces {
    pieces.into_iter().map(|piece| (piece, None)).collect()
}
