//! The collectives on tensors whose element type is known at run time only.

use super::{Blocks, Communicator};
use crate::collective::execute::Elements;
use crate::collective::reduce::Operation;
use crate::collective::{Call, Collective, ReduceOp};
use crate::error::{Error, Result};
use crate::tensor::{DType, TensorView, TensorViewMut};

impl Communicator {
    /// [`Communicator::broadcast`] of a tensor.
    ///
    /// # Errors
    /// As [`Communicator::broadcast`].
    pub fn broadcast_tensor(&self, tensor: &mut TensorViewMut<'_>, root: usize) -> Result<()> {
        self.tensor_in_place(Collective::Broadcast, root, tensor, None)
    }

    /// [`Communicator::reduce_in_place`] of a tensor.
    ///
    /// # Errors
    /// As [`Communicator::reduce`].
    pub fn reduce_tensor(&self, tensor: &mut TensorViewMut<'_>, op: ReduceOp, root: usize) -> Result<()> {
        self.tensor_in_place(Collective::Reduce, root, tensor, Some(op))
    }

    /// [`Communicator::all_reduce_in_place`] of a tensor.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    pub fn all_reduce_tensor(&self, tensor: &mut TensorViewMut<'_>, op: ReduceOp) -> Result<()> {
        self.tensor_in_place(Collective::AllReduce, 0, tensor, Some(op))
    }

    /// [`Communicator::scan_in_place`] of a tensor.
    ///
    /// # Errors
    /// As [`Communicator::scan`].
    pub fn scan_tensor(&self, tensor: &mut TensorViewMut<'_>, op: ReduceOp) -> Result<()> {
        self.tensor_in_place(Collective::Scan, 0, tensor, Some(op))
    }

    /// [`Communicator::exclusive_scan_in_place`] of a tensor.
    ///
    /// # Errors
    /// As [`Communicator::scan`].
    pub fn exclusive_scan_tensor(&self, tensor: &mut TensorViewMut<'_>, op: ReduceOp) -> Result<()> {
        self.tensor_in_place(Collective::ExclusiveScan, 0, tensor, Some(op))
    }

    /// [`Communicator::gather`] of tensors. At ranks other than `root` the output may have no elements.
    ///
    /// # Errors
    /// As [`Communicator::gather`], and [`Error::Misuse`] when the types differ.
    pub fn gather_tensor(
        &self,
        input: &TensorView<'_>,
        output: &mut TensorViewMut<'_>,
        root: usize,
    ) -> Result<()> {
        let call = self.call(Collective::Gather, input.elements()).with_root(root);
        self.tensor_out_of_place(call, input, output, None)
    }

    /// [`Communicator::scatter`] of tensors. At ranks other than `root` the input may have no elements.
    ///
    /// # Errors
    /// As [`Communicator::gather_tensor`].
    pub fn scatter_tensor(
        &self,
        input: &TensorView<'_>,
        output: &mut TensorViewMut<'_>,
        root: usize,
    ) -> Result<()> {
        let call = self.call(Collective::Scatter, output.elements()).with_root(root);
        self.tensor_out_of_place(call, input, output, None)
    }

    /// [`Communicator::all_gather`] of tensors.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`], and [`Error::Misuse`] when the types differ.
    pub fn all_gather_tensor(&self, input: &TensorView<'_>, output: &mut TensorViewMut<'_>) -> Result<()> {
        let call = self.call(Collective::AllGather, input.elements());
        self.tensor_out_of_place(call, input, output, None)
    }

    /// [`Communicator::reduce_scatter`] of tensors.
    ///
    /// # Errors
    /// As [`Communicator::reduce_scatter`], and [`Error::Misuse`] when the types differ.
    pub fn reduce_scatter_tensor(
        &self,
        input: &TensorView<'_>,
        output: &mut TensorViewMut<'_>,
        op: ReduceOp,
    ) -> Result<()> {
        let call = self.call(Collective::ReduceScatter, output.elements());
        self.tensor_out_of_place(call, input, output, Some(op))
    }

    /// [`Communicator::all_to_all`] of tensors.
    ///
    /// # Errors
    /// As [`Communicator::all_gather_tensor`].
    pub fn all_to_all_tensor(&self, input: &TensorView<'_>, output: &mut TensorViewMut<'_>) -> Result<()> {
        let elements = self.part(Collective::AllToAll, input.elements())?;
        self.tensor_out_of_place(self.call(Collective::AllToAll, elements), input, output, None)
    }

    fn tensor_in_place(
        &self,
        collective: Collective,
        root: usize,
        tensor: &mut TensorViewMut<'_>,
        op: Option<ReduceOp>,
    ) -> Result<()> {
        let call = self.call_in_place(collective, tensor.elements()).with_root(root);
        self.run_bytes(call, Blocks::Equal, elements(tensor.dtype(), op), &[], tensor.bytes_mut())
    }

    fn tensor_out_of_place(
        &self,
        call: Call,
        input: &TensorView<'_>,
        output: &mut TensorViewMut<'_>,
        op: Option<ReduceOp>,
    ) -> Result<()> {
        let Call { collective, rank, size, root, .. } = call;
        if input.dtype() != output.dtype() {
            return Err(Error::misuse(
                format!(
                    "the {collective} at rank {rank} of {size}: cannot put {} into a tensor of {}",
                    input.dtype(),
                    output.dtype()
                ),
                "elements are not converted",
                "pass tensors of one type",
            ));
        }
        let elements = elements(input.dtype(), op);
        let (from, into) = (input.bytes(), output.bytes_mut());
        let from = if collective == Collective::Scatter && rank != root { &[] } else { from };
        let into = if collective == Collective::Gather && rank != root { &mut [] } else { into };
        self.run_bytes(call, Blocks::Equal, elements, from, into)
    }
}

fn elements(dtype: DType, op: Option<ReduceOp>) -> Elements<'static> {
    let operation = op.map_or(Operation::None, |op| Operation::Numbers(op, dtype));
    Elements { name: dtype.name(), size: dtype.size(), operation }
}
