//! Reads and writes of remote memory: each rank has a board that others write to and a book that others read.

use std::time::Duration;

use efa_core::Op;
use efa_core::memory::{Access, Region, RemoteRegion};

use super::{Rank, Stop};
use crate::random::Random;

/// Bytes of the board and of the book that one peer may use at a time.
const SLOT: usize = 1 << 20;
/// How long the ranks take at most to tell each other their regions.
const TELL: Duration = Duration::from_secs(30);
/// The number of the payload that a book holds.
const BOOK: u64 = u64::MAX;

/// This rank's regions, and those of all.
pub(super) struct Board {
    /// A slot per rank that may write to it.
    mine: Option<Region<u8>>,
    book: Option<Region<u8>>,
    boards: Vec<RemoteRegion>,
    books: Vec<RemoteRegion>,
}

/// What one rank does to another in a step.
struct Use {
    by: usize,
    to: usize,
    kind: Kind,
    size: usize,
    offset: usize,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteImmediate,
}

impl Board {
    /// Opens the regions and tells all ranks.
    pub(super) fn open(rank: &Rank) -> Result<Self, Stop> {
        let endpoint = rank.world.endpoint();
        let mine = endpoint.allocate::<u8>(SLOT * rank.plan.ranks)?.expose(Access::ReadWrite)?;
        let mut pages = endpoint.allocate::<u8>(SLOT)?;
        rank.payload(rank.me, BOOK).fill(&mut pages);
        let book = pages.expose(Access::Read)?;
        let wire = [mine.remote().to_bytes(), book.remote().to_bytes()].concat();
        let all = rank.world.control().exchange("regions", &wire, TELL)?;
        let read = |place: usize| -> Result<Vec<RemoteRegion>, efa_core::Error> {
            let half = place * RemoteRegion::WIRE_SIZE..(place + 1) * RemoteRegion::WIRE_SIZE;
            all.iter().map(|wire| RemoteRegion::from_bytes(wire.get(half.clone()).unwrap_or(&[]))).collect()
        };
        Ok(Self { mine: Some(mine), book: Some(book), boards: read(0)?, books: read(1)? })
    }

    /// Closes this rank's regions.
    pub(super) fn close(&mut self) {
        drop(self.mine.take());
        drop(self.book.take());
    }

    /// Reads from and writes to `owner` so many times, or until that fails.
    pub(super) fn bother(
        &self,
        rank: &Rank,
        owner: usize,
        own: &mut Random,
        turns: usize,
    ) -> Result<(), Stop> {
        for _ in 0..turns {
            let size = own.size(SLOT);
            if own.chance(50) {
                let mut got = vec![0u8; size];
                rank.world.endpoint().read_blocking(&self.books[owner], 0, &mut got)?;
                rank.payload(owner, BOOK).check(0, &got)?;
            } else {
                let slot = SLOT * rank.me;
                rank.world.endpoint().write_blocking(&self.boards[owner], slot, &vec![1u8; size])?;
            }
        }
        Ok(())
    }

    /// Does one step.
    pub(super) fn step(&self, rank: &Rank, step: usize, random: &mut Random) -> Result<(), Stop> {
        let accesses = accesses(rank.plan.ranks, step, random);
        let mut own = Random::new(&[random.next(), rank.me as u64]);
        let mut mine: Vec<&Use> = accesses.iter().filter(|access| access.by == rank.me).collect();
        own.shuffle(&mut mine);
        let started: Vec<(Op<Vec<u8>>, &Use)> =
            mine.into_iter().map(|access| (self.start(rank, step, access), access)).collect();
        for (op, access) in started {
            let (_, buffer) = op.wait()?;
            if access.kind == Kind::Read {
                rank.payload(access.to, BOOK).check(access.offset, &buffer)?;
            }
        }
        let to_me = |kind: Kind| accesses.iter().filter(move |a| a.to == rank.me && a.kind == kind);
        let immediates = to_me(Kind::WriteImmediate).count() as u64;
        if immediates > 0 {
            rank.world.endpoint().wait_for_immediate_data(step as u32, immediates)?;
        }
        to_me(Kind::WriteImmediate).try_for_each(|access| self.check(rank, access))?;
        rank.world.barrier()?;
        // A write without an immediate is in place when its writer comes to the barrier.
        to_me(Kind::Write).try_for_each(|access| self.check(rank, access))?;
        Ok(rank.world.barrier()?)
    }

    fn start(&self, rank: &Rank, step: usize, access: &Use) -> Op<Vec<u8>> {
        let endpoint = rank.world.endpoint();
        let mut buffer = vec![0; access.size];
        if access.kind == Kind::Read {
            return endpoint.read(&self.books[access.to], access.offset, buffer);
        }
        rank.payload(rank.me, access.number).fill(&mut buffer);
        let (board, slot) = (&self.boards[access.to], SLOT * rank.me);
        match access.kind {
            Kind::WriteImmediate => endpoint.write_immediate(board, slot, buffer, step as u32),
            _ => endpoint.write(board, slot, buffer),
        }
    }

    fn check(&self, rank: &Rank, access: &Use) -> Result<(), Stop> {
        let Some(mine) = &self.mine else { return Ok(()) };
        let mut got = vec![0; access.size];
        mine.copy_out(SLOT * access.by, &mut got)?;
        Ok(rank.payload(access.by, access.number).check(0, &got)?)
    }
}

/// Returns at most one write and some reads for each pair of ranks.
fn accesses(ranks: usize, step: usize, random: &mut Random) -> Vec<Use> {
    let mut accesses = Vec::new();
    for by in 0..ranks {
        for to in 0..ranks {
            for kind in [random.pick(&[Kind::Write, Kind::WriteImmediate]), Kind::Read, Kind::Read] {
                if random.chance(50) {
                    continue;
                }
                let size = random.size(SLOT);
                let offset = if kind == Kind::Read { random.below(SLOT - size + 1) & !7 } else { 0 };
                let number = (1 << 40 | step << 16 | by << 8 | to) as u64;
                accesses.push(Use { by, to, kind, size, offset, number });
            }
        }
    }
    accesses
}
