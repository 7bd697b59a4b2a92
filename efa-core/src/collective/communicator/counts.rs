//! The collectives on typed slices with a count of elements for each rank, as MPI's with a `v` at the end of their name.
//! The blocks follow one another in the order of the ranks, without a gap.

use bytemuck::Pod;

use super::{Blocks, Communicator};
use crate::collective::{Collective, Reduction};
use crate::error::{Error, Result};
use crate::tensor::Element;

impl Communicator {
    /// [`Communicator::gather`] of `counts[i]` elements from each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit the counts, there is not one for each rank, or
    /// the root is outside the job; else as [`Communicator::barrier`].
    pub fn gather_counts<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        root: usize,
    ) -> Result<()> {
        let call = self.call(Collective::Gather, 0).with_root(root);
        let output = if self.rank() == root { output } else { &mut [] };
        self.move_elements(call, Blocks::Given(counts), input, output)
    }

    /// [`Communicator::gather_in_place`] of `counts[i]` elements from each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// As [`Communicator::gather_counts`].
    pub fn gather_counts_in_place<T: Element>(
        &self,
        data: &mut [T],
        counts: &[usize],
        root: usize,
    ) -> Result<()> {
        let call = self.call_in_place(Collective::Gather, 0).with_root(root);
        self.move_elements(call, Blocks::Given(counts), &[], data)
    }

    /// [`Communicator::scatter`] of `counts[i]` elements to each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// As [`Communicator::gather_counts`].
    pub fn scatter_counts<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        root: usize,
    ) -> Result<()> {
        let call = self.call(Collective::Scatter, 0).with_root(root);
        let input = if self.rank() == root { input } else { &[] };
        self.move_elements(call, Blocks::Given(counts), input, output)
    }

    /// [`Communicator::scatter_in_place`] of `counts[i]` elements to each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// As [`Communicator::gather_counts`].
    pub fn scatter_counts_in_place<T: Element>(
        &self,
        data: &mut [T],
        counts: &[usize],
        root: usize,
    ) -> Result<()> {
        let call = self.call_in_place(Collective::Scatter, 0).with_root(root);
        self.move_elements(call, Blocks::Given(counts), &[], data)
    }

    /// [`Communicator::all_gather`] of `counts[i]` elements from each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit the counts, or there is not one for each rank;
    /// else as [`Communicator::barrier`].
    pub fn all_gather_counts<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
    ) -> Result<()> {
        self.move_elements(self.call(Collective::AllGather, 0), Blocks::Given(counts), input, output)
    }

    /// [`Communicator::all_gather_in_place`] of `counts[i]` elements from each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// As [`Communicator::all_gather_counts`].
    pub fn all_gather_counts_in_place<T: Element>(&self, data: &mut [T], counts: &[usize]) -> Result<()> {
        self.move_elements(self.call_in_place(Collective::AllGather, 0), Blocks::Given(counts), &[], data)
    }

    /// [`Communicator::reduce_scatter`] that gives `counts[i]` elements to each rank `i`. Every rank gives the same counts.
    ///
    /// # Errors
    /// As [`Communicator::all_gather_counts`], and [`Error::Misuse`] when the operation does not
    /// exist for the type.
    pub fn reduce_scatter_counts<T: Pod>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        op: impl Reduction<T>,
    ) -> Result<()> {
        self.run(self.call(Collective::ReduceScatter, 0), Blocks::Given(counts), op, input, output)
    }

    /// [`Communicator::reduce_scatter_in_place`] that gives `counts[i]` elements to each rank `i`. Every rank gives the
    /// same counts.
    ///
    /// # Errors
    /// As [`Communicator::reduce_scatter_counts`].
    pub fn reduce_scatter_counts_in_place<T: Pod>(
        &self,
        data: &mut [T],
        counts: &[usize],
        op: impl Reduction<T>,
    ) -> Result<()> {
        self.run(self.call_in_place(Collective::ReduceScatter, 0), Blocks::Given(counts), op, &[], data)
    }

    /// [`Communicator::all_to_all`] of `to[j]` elements to each rank `j`, and `from[i]` elements from each rank `i`. What a
    /// rank gives in `to` for another, that one gives in `from`.
    ///
    /// ```no_run
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// // How many tokens go to the experts of each rank; the others learn it first.
    /// let to: Vec<usize> = (0..world.size()).map(|expert| 3 * expert).collect();
    /// let announced: Vec<u64> = to.iter().map(|&count| count as u64).collect();
    /// let mut counts = vec![0u64; world.size()];
    /// world.all_to_all(&announced, &mut counts)?;
    /// let from: Vec<usize> = counts.iter().map(|&count| count as usize).collect();
    ///
    /// let tokens = vec![1.0f32; to.iter().sum()];
    /// let mut mine = vec![0.0; from.iter().sum()];
    /// world.all_to_all_counts(&tokens, &to, &mut mine, &from)?;
    /// # world.finish()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Communicator::all_gather_counts`].
    pub fn all_to_all_counts<T: Element>(
        &self,
        input: &[T],
        to: &[usize],
        output: &mut [T],
        from: &[usize],
    ) -> Result<()> {
        if to.len() != from.len() {
            return Err(Error::misuse(
                format!(
                    "the {} at rank {} of {}: cannot send by {} counts and receive by {}",
                    Collective::AllToAll,
                    self.rank(),
                    self.size(),
                    to.len(),
                    from.len()
                ),
                "both have one count for each rank",
                "give one count for each rank",
            ));
        }
        self.move_elements(self.call(Collective::AllToAll, 0), Blocks::Exchanged(to, from), input, output)
    }

    /// [`Communicator::all_to_all_in_place`] of `counts[i]` elements to each rank `i`, and as many from it.
    ///
    /// # Errors
    /// As [`Communicator::all_gather_counts`].
    pub fn all_to_all_counts_in_place<T: Element>(&self, data: &mut [T], counts: &[usize]) -> Result<()> {
        let call = self.call_in_place(Collective::AllToAll, 0);
        self.move_elements(call, Blocks::Exchanged(counts, counts), &[], data)
    }
}
