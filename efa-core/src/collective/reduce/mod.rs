//! The arithmetic of reductions.
//!
//! Rules, the same on every machine:
//!
//! - Integers wrap around in sums and products. Logical operations take any value but zero for true, and give 1 or 0.
//! - `f16` and `bf16` are computed in `f32` and rounded once per operation, to the nearest, ties to even.
//! - A NaN in either operand gives a NaN, in [`Min`](ReduceOp::Min) and [`Max`](ReduceOp::Max) too: training wants to see
//!   it, not to lose it. It is always the same NaN, whatever the operands held.
//! - In `Min` and `Max`, `-0.0` is less than `0.0`.
//! - Of several least or greatest [`Located`] values that are equal, the one with the least location counts.
//!
//! So every operation is commutative to the bit, and ranks that combine the same two operands in either order get the
//! same bytes. Sums and products of floats are not associative: different algorithms may differ in the last bits.
//!
//! A program may bring an operation of its own: [`UserOp`].

mod kernels;
mod located;
mod op;
mod operation;

pub use located::Located;
pub use op::ReduceOp;
pub(super) use operation::Operation;
pub use operation::{Reduction, UserOp};

use crate::tensor::{DType, Element, bf16, f16};
use crate::{Error, Result};

/// Runs `$body` with `$T` standing for the Rust type of `$dtype`.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $T = f16;
                $body
            }
            DType::Bf16 => {
                type $T = bf16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
        }
    };
}

/// Combines `input` into `accumulator`, element by element. An average adds; [`finish_average`] divides.
///
/// # Errors
/// [`Error::Misuse`] when the operation does not exist for the type, the lengths differ, are no whole number of elements,
/// or an address is not aligned for the type.
pub fn reduce_into(op: ReduceOp, dtype: DType, accumulator: &mut [u8], input: &[u8]) -> Result<()> {
    op.check(dtype)?;
    if accumulator.len() != input.len() {
        return Err(Error::misuse(
            format!("cannot reduce {} bytes into {}", input.len(), accumulator.len()),
            "both must have the same length",
            "pass slices of equal length",
        ));
    }
    with_type!(dtype, T => kernels::combine::<T>(op, elements_mut(dtype, accumulator)?, elements(dtype, input)?));
    Ok(())
}

/// Combines `input` into `accumulator`, element by element. An average adds; [`finish_average`] divides.
///
/// # Errors
/// [`Error::Misuse`] when the operation does not exist for the type, or the lengths differ.
pub fn reduce_slice<T: Element>(op: ReduceOp, accumulator: &mut [T], input: &[T]) -> Result<()> {
    reduce_into(op, T::DTYPE, bytemuck::cast_slice_mut(accumulator), bytemuck::cast_slice(input))
}

/// Divides every element by the number of ranks: the end of an average. Integers are truncated towards zero.
///
/// # Errors
/// [`Error::Misuse`] when `ranks` is zero, or the bytes are no whole number of elements or not aligned for the type.
pub fn finish_average(dtype: DType, bytes: &mut [u8], ranks: usize) -> Result<()> {
    if ranks == 0 {
        return Err(Error::misuse(
            "cannot average",
            "a group of no ranks has no average",
            "pass the group's size",
        ));
    }
    with_type!(dtype, T => kernels::divide::<T>(elements_mut(dtype, bytes)?, ranks));
    Ok(())
}

/// Keeps, of each two [`Located`] values, the least or the greatest.
fn locate_into(op: ReduceOp, dtype: DType, accumulator: &mut [u8], input: &[u8]) -> Result<()> {
    with_type!(dtype, T => located::combine::<T>(op, pods_mut(dtype, accumulator)?, pods(dtype, input)?));
    Ok(())
}

fn elements<T: Element>(dtype: DType, bytes: &[u8]) -> Result<&[T]> {
    pods(dtype, bytes)
}

fn elements_mut<T: Element>(dtype: DType, bytes: &mut [u8]) -> Result<&mut [T]> {
    pods_mut(dtype, bytes)
}

fn pods<T: bytemuck::Pod>(dtype: DType, bytes: &[u8]) -> Result<&[T]> {
    bytemuck::try_cast_slice(bytes).map_err(|reason| uncastable(dtype, bytes.len(), reason))
}

fn pods_mut<T: bytemuck::Pod>(dtype: DType, bytes: &mut [u8]) -> Result<&mut [T]> {
    let length = bytes.len();
    bytemuck::try_cast_slice_mut(bytes).map_err(|reason| uncastable(dtype, length, reason))
}

fn uncastable(dtype: DType, bytes: usize, reason: bytemuck::PodCastError) -> Error {
    Error::misuse(
        format!("cannot reduce {bytes} bytes as {dtype}"),
        match reason {
            bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned => {
                format!("their address is not a multiple of {}", dtype.size())
            }
            _ => format!("their number is not a multiple of {}", dtype.size()),
        },
        "pass whole elements, aligned for their type",
    )
}
