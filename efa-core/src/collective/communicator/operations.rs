//! The collectives on typed slices with blocks of equal length.

use bytemuck::Pod;

use super::{Blocks, Communicator};
use crate::collective::{Call, Collective, Reduction};
use crate::error::{Error, Result};
use crate::tensor::Element;

impl Communicator {
    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// Those of messages: [`Error::PeerLost`], [`Error::Timeout`], [`Error::Aborted`] and so on.
    pub fn barrier(&self) -> Result<()> {
        self.move_elements::<u8>(self.call(Collective::Barrier, 0), Blocks::Equal, &[], &mut [])
    }

    /// Gives `root`'s elements to every rank. `data` has the same length everywhere.
    ///
    /// ```no_run
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// let mut weights = vec![0.0f32; 1 << 20];
    /// if world.rank() == 0 {
    ///     weights.fill(1.5);
    /// }
    /// world.broadcast(&mut weights, 0)?;
    /// assert_eq!(weights[77], 1.5);
    /// world.finish()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] for a root outside the job; else as [`Communicator::barrier`].
    pub fn broadcast<T: Element>(&self, data: &mut [T], root: usize) -> Result<()> {
        let call = self.call_in_place(Collective::Broadcast, data.len()).with_root(root);
        self.move_elements(call, Blocks::Equal, &[], data)
    }

    /// Combines everybody's `input` element by element, and puts the result into `output` at `root`. All have the same
    /// length. At the other ranks `output` is left as it is, and may be empty.
    ///
    /// ```no_run
    /// use efa_core::collective::ReduceOp;
    ///
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// let mut total = [0u64];
    /// world.reduce(&[world.rank() as u64], &mut total, ReduceOp::Sum, 0)?;
    /// if world.rank() == 0 {
    ///     println!("the ranks add up to {}", total[0]);
    /// }
    /// # world.finish()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths differ, the root is outside the job, or the operation does not exist for the
    /// type; else as [`Communicator::barrier`].
    pub fn reduce<T: Pod>(
        &self,
        input: &[T],
        output: &mut [T],
        op: impl Reduction<T>,
        root: usize,
    ) -> Result<()> {
        let call = self.call(Collective::Reduce, input.len()).with_root(root);
        let output = if self.rank() == root { output } else { &mut [] };
        self.run(call, Blocks::Equal, op, input, output)
    }

    /// [`Communicator::reduce`] of `data` into itself at `root`. At the other ranks it is left as it is.
    ///
    /// # Errors
    /// As [`Communicator::reduce`].
    pub fn reduce_in_place<T: Pod>(&self, data: &mut [T], op: impl Reduction<T>, root: usize) -> Result<()> {
        let call = self.call_in_place(Collective::Reduce, data.len()).with_root(root);
        self.run(call, Blocks::Equal, op, &[], data)
    }

    /// Combines everybody's `input` element by element, and puts the result into `output` at every rank. All have the
    /// same length. Every rank gets the same bits.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths differ, or the operation does not exist for the type; else as
    /// [`Communicator::barrier`].
    pub fn all_reduce<T: Pod>(&self, input: &[T], output: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call(Collective::AllReduce, input.len()), Blocks::Equal, op, input, output)
    }

    /// [`Communicator::all_reduce`] of `data` into itself.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    pub fn all_reduce_in_place<T: Pod>(&self, data: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call_in_place(Collective::AllReduce, data.len()), Blocks::Equal, op, &[], data)
    }

    /// Puts everybody's `input`, in the order of the ranks, into `output` at `root`, which is as many times as long. At the
    /// other ranks `output` is left as it is, and may be empty.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit, or the root is outside the job; else as [`Communicator::barrier`].
    pub fn gather<T: Element>(&self, input: &[T], output: &mut [T], root: usize) -> Result<()> {
        let call = self.call(Collective::Gather, input.len()).with_root(root);
        let output = if self.rank() == root { output } else { &mut [] };
        self.move_elements(call, Blocks::Equal, input, output)
    }

    /// [`Communicator::gather`] into `data` at `root`, where the own elements are in their place already. At the other
    /// ranks `data` has the own elements only, and is left as it is.
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn gather_in_place<T: Element>(&self, data: &mut [T], root: usize) -> Result<()> {
        let elements =
            if self.rank() == root { self.part(Collective::Gather, data.len())? } else { data.len() };
        let call = self.call_in_place(Collective::Gather, elements).with_root(root);
        self.move_elements(call, Blocks::Equal, &[], data)
    }

    /// Gives to each rank its part of `root`'s `input`, which is as many times as long as `output` as there are ranks. At
    /// the other ranks `input` is not read, and may be empty.
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn scatter<T: Element>(&self, input: &[T], output: &mut [T], root: usize) -> Result<()> {
        let call = self.call(Collective::Scatter, output.len()).with_root(root);
        let input = if self.rank() == root { input } else { &[] };
        self.move_elements(call, Blocks::Equal, input, output)
    }

    /// [`Communicator::scatter`] of `data` at `root`, which is left as it is, the own part included. At the other ranks
    /// `data` takes their part.
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn scatter_in_place<T: Element>(&self, data: &mut [T], root: usize) -> Result<()> {
        let elements =
            if self.rank() == root { self.part(Collective::Scatter, data.len())? } else { data.len() };
        let call = self.call_in_place(Collective::Scatter, elements).with_root(root);
        self.move_elements(call, Blocks::Equal, &[], data)
    }

    /// Puts everybody's `input`, in the order of the ranks, into `output`, which is as many times as long.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit; else as [`Communicator::barrier`].
    pub fn all_gather<T: Element>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        self.move_elements(self.call(Collective::AllGather, input.len()), Blocks::Equal, input, output)
    }

    /// [`Communicator::all_gather`] into `data`, where the own elements are in their place already.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`].
    pub fn all_gather_in_place<T: Element>(&self, data: &mut [T]) -> Result<()> {
        let elements = self.part(Collective::AllGather, data.len())?;
        self.move_elements(self.call_in_place(Collective::AllGather, elements), Blocks::Equal, &[], data)
    }

    /// Combines everybody's `input`, and gives to each rank its part of the result: `input` is as many times as long as
    /// `output` as there are ranks.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit, or the operation does not exist for the type; else as
    /// [`Communicator::barrier`].
    pub fn reduce_scatter<T: Pod>(&self, input: &[T], output: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call(Collective::ReduceScatter, output.len()), Blocks::Equal, op, input, output)
    }

    /// [`Communicator::reduce_scatter`] of `data` into the own part of it. What the other parts hold afterwards is
    /// undefined.
    ///
    /// # Errors
    /// As [`Communicator::reduce_scatter`].
    pub fn reduce_scatter_in_place<T: Pod>(&self, data: &mut [T], op: impl Reduction<T>) -> Result<()> {
        let elements = self.part(Collective::ReduceScatter, data.len())?;
        self.run(self.call_in_place(Collective::ReduceScatter, elements), Blocks::Equal, op, &[], data)
    }

    /// Gives to each rank its part of everybody's `input`: part `j` of rank `i` becomes part `i` of rank `j`'s `output`.
    /// Both are cut in as many parts of equal length as there are ranks.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`].
    pub fn all_to_all<T: Element>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        let elements = self.part(Collective::AllToAll, input.len())?;
        self.move_elements(self.call(Collective::AllToAll, elements), Blocks::Equal, input, output)
    }

    /// [`Communicator::all_to_all`] of `data` into itself.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`].
    pub fn all_to_all_in_place<T: Element>(&self, data: &mut [T]) -> Result<()> {
        let elements = self.part(Collective::AllToAll, data.len())?;
        self.move_elements(self.call_in_place(Collective::AllToAll, elements), Blocks::Equal, &[], data)
    }

    /// Combines the `input` of all ranks up to this one, its own included, in the order of the ranks, and puts the result
    /// into `output`. All have the same length.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths differ, the operation does not exist for the type, or it is an average; else as
    /// [`Communicator::barrier`].
    pub fn scan<T: Pod>(&self, input: &[T], output: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call(Collective::Scan, input.len()), Blocks::Equal, op, input, output)
    }

    /// [`Communicator::scan`] of `data` into itself.
    ///
    /// # Errors
    /// As [`Communicator::scan`].
    pub fn scan_in_place<T: Pod>(&self, data: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call_in_place(Collective::Scan, data.len()), Blocks::Equal, op, &[], data)
    }

    /// Combines the `input` of all ranks before this one, in the order of the ranks, and puts the result into `output`. At
    /// rank 0, before which there is none, `output` is left as it is.
    ///
    /// ```no_run
    /// use efa_core::collective::ReduceOp;
    ///
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// let records = 1000 + world.rank() as u64;
    /// let mut first = [0];
    /// world.exclusive_scan(&[records], &mut first, ReduceOp::Sum)?;
    /// println!("this rank writes records {} to {}", first[0], first[0] + records);
    /// # world.finish()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Communicator::scan`].
    pub fn exclusive_scan<T: Pod>(&self, input: &[T], output: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call(Collective::ExclusiveScan, input.len()), Blocks::Equal, op, input, output)
    }

    /// [`Communicator::exclusive_scan`] of `data` into itself; at rank 0 it is left as it is.
    ///
    /// # Errors
    /// As [`Communicator::scan`].
    pub fn exclusive_scan_in_place<T: Pod>(&self, data: &mut [T], op: impl Reduction<T>) -> Result<()> {
        self.run(self.call_in_place(Collective::ExclusiveScan, data.len()), Blocks::Equal, op, &[], data)
    }

    /// How long the parts are that a buffer is cut in, one for each rank.
    pub(super) fn part(&self, collective: Collective, elements: usize) -> Result<usize> {
        if elements.is_multiple_of(self.size()) {
            return Ok(elements / self.size());
        }
        let Call { rank, size, .. } = self.call(collective, 0);
        Err(Error::misuse(
            format!(
                "the {collective} at rank {rank} of {size}: cannot cut {elements} elements in {size} parts"
            ),
            "parts have the same length",
            "make the buffer longer or shorter, or give counts",
        ))
    }
}
