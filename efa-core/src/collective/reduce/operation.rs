//! What a collective combines elements by: an operation of ours or one of the program's, behind one interface.

use bytemuck::Pod;

use super::{Located, ReduceOp, locate_into, reduce_into};
use crate::tensor::{DType, Element};
use crate::{Error, Result};

/// What combines elements of type `T` in a collective: a [`ReduceOp`] for numbers, its `Min` and `Max` for [`Located`]
/// numbers, or a [`UserOp`] for any plain data.
pub trait Reduction<T>: Erase<T> {}

impl<T, R: Erase<T>> Reduction<T> for R {}

/// Keeps [`Reduction`] to the types here.
mod sealed {
    use super::Operation;

    /// Makes one type of all operations.
    pub trait Erase<T> {
        /// Calls `run` with the operation. It lives no longer than that, as it may borrow a closure made here.
        fn erased<R>(&self, run: impl FnOnce(Operation<'_>) -> R) -> R;
    }
}

use sealed::Erase;

/// Combines the second into the first, as the second operand unless the flag is set.
type Combine<'a> = dyn Fn(&mut [u8], &[u8], bool) + 'a;

/// An operation on bytes.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// Nothing is combined.
    None,
    /// Numbers.
    Numbers(ReduceOp, DType),
    /// Numbers with their location.
    Located(ReduceOp, DType),
    /// Whatever the program says.
    Given {
        /// The loop over the elements.
        combine: &'a Combine<'a>,
        /// Whether the operands may change places.
        commutes: bool,
    },
}

impl Operation<'_> {
    /// Combines `source` into `into`, as the first operand if `source_first`.
    pub(crate) fn combine(&self, into: &mut [u8], source: &[u8], source_first: bool) -> Result<()> {
        match *self {
            Self::None => Ok(()),
            Self::Numbers(op, dtype) => reduce_into(op, dtype, into, source),
            Self::Located(op, dtype) => locate_into(op, dtype, into, source),
            Self::Given { combine, .. } => {
                combine(into, source, source_first);
                Ok(())
            }
        }
    }

    /// Returns `true` if contributions are to be combined in the order of the ranks.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self, Self::Given { commutes: false, .. })
    }

    /// The type to divide by the number of ranks at the end, if it is an average.
    pub(crate) fn averages(&self) -> Option<DType> {
        match *self {
            Self::Numbers(ReduceOp::Average, dtype) => Some(dtype),
            _ => None,
        }
    }

    /// Refuses what does not exist for the type of the elements.
    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Self::Numbers(op, dtype) => op.check(dtype),
            Self::Located(ReduceOp::Min | ReduceOp::Max, _) | Self::None | Self::Given { .. } => Ok(()),
            Self::Located(op, dtype) => Err(Error::misuse(
                format!("cannot reduce {dtype} with its location by {op}"),
                "of values with their location there are min and max only",
                "choose one of these",
            )),
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match *self {
            Self::None => "nothing",
            Self::Numbers(op, _) | Self::Located(op, _) => op.name(),
            Self::Given { .. } => "an operation of the program",
        }
    }

    /// A number in which operations differ.
    pub(crate) fn digest(&self) -> u64 {
        match *self {
            Self::None => 0,
            Self::Numbers(op, dtype) => (1 + op as u64) << 8 | dtype as u64,
            Self::Located(op, dtype) => (64 + op as u64) << 8 | dtype as u64,
            Self::Given { commutes, .. } => (128 + u64::from(commutes)) << 8,
        }
    }
}

impl<T: Element> Erase<T> for ReduceOp {
    fn erased<R>(&self, run: impl FnOnce(Operation<'_>) -> R) -> R {
        run(Operation::Numbers(*self, T::DTYPE))
    }
}

impl<T: Element> Erase<Located<T>> for ReduceOp {
    fn erased<R>(&self, run: impl FnOnce(Operation<'_>) -> R) -> R {
        run(Operation::Located(*self, T::DTYPE))
    }
}

/// An operation of the program's own, on two elements.
///
/// It must be associative, and the same at all ranks. Which contributions are combined first is up to the algorithm.
///
/// ```no_run
/// use efa_core::collective::UserOp;
///
/// # fn main() -> efa_core::Result<()> {
/// let world = efa_core::init()?;
/// // The product of matrices of two rows and columns, in the order of the ranks.
/// let product = UserOp::ordered(|a: [f64; 4], b: [f64; 4]| {
///     [
///         a[0] * b[0] + a[1] * b[2],
///         a[0] * b[1] + a[1] * b[3],
///         a[2] * b[0] + a[3] * b[2],
///         a[2] * b[1] + a[3] * b[3],
///     ]
/// });
/// let mut matrix = [[1.0, world.rank() as f64, 0.0, 1.0]];
/// world.all_reduce_in_place(&mut matrix, product)?;
/// # world.finish()
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct UserOp<F> {
    combine: F,
    commutes: bool,
}

impl<F> UserOp<F> {
    /// An operation whose operands may change places without a change of the result: any algorithm will do.
    pub fn commutative(combine: F) -> Self {
        Self { combine, commutes: true }
    }

    /// An operation whose operands must stay in the order of the ranks. There are fewer algorithms for such, and none
    /// that is good for large messages.
    pub fn ordered(combine: F) -> Self {
        Self { combine, commutes: false }
    }
}

impl<T: Pod, F: Fn(T, T) -> T> Erase<T> for UserOp<F> {
    fn erased<R>(&self, run: impl FnOnce(Operation<'_>) -> R) -> R {
        let combine = |into: &mut [u8], source: &[u8], source_first: bool| {
            let (into, source) = (bytemuck::cast_slice_mut::<u8, T>(into), bytemuck::cast_slice(source));
            for (a, &b) in into.iter_mut().zip(source) {
                *a = if source_first { (self.combine)(b, *a) } else { (self.combine)(*a, b) };
            }
        };
        run(Operation::Given { combine: &combine, commutes: self.commutes })
    }
}

/// So that an operation can be used again.
impl<T, O: Erase<T>> Erase<T> for &O {
    fn erased<R>(&self, run: impl FnOnce(Operation<'_>) -> R) -> R {
        (**self).erased(run)
    }
}
