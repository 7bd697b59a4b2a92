//! The arithmetic of reductions.
//!
//! Rules, the same on every machine:
//!
//! - Integers wrap around in sums and products.
//! - `f16` and `bf16` are computed in `f32` and rounded once per operation, to the nearest, ties to even.
//! - A NaN in either operand gives a NaN, in [`Min`](ReduceOp::Min) and [`Max`](ReduceOp::Max) too: training wants to see
//!   it, not to lose it. It is always the same NaN, whatever the operands held.
//! - In `Min` and `Max`, `-0.0` is less than `0.0`.
//!
//! So every operation is commutative to the bit, and ranks that combine the same two operands in either order get the
//! same bytes. Sums and products of floats are not associative: different algorithms may differ in the last bits.

mod kernels;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tensor::{DType, Element, bf16, f16};
use crate::{Error, Result};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReduceOp {
    /// The sum.
    Sum,
    /// The product.
    Product,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The sum, divided by the number of ranks at the end; see [`finish_average`]. A sum that overflows its type
    /// gives a wrong average.
    Average,
}

impl ReduceOp {
    /// Every operation there is.
    pub const ALL: [Self; 5] = [Self::Sum, Self::Product, Self::Min, Self::Max, Self::Average];

    /// The name, as on the command line: `sum`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Product => "product",
            Self::Min => "min",
            Self::Max => "max",
            Self::Average => "average",
        }
    }

    /// Reads `sum`, `product`, `min`, `max` or `average`, and `prod` and `avg` for those used to them.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "prod" => Ok(Self::Product),
            "avg" => Ok(Self::Average),
            _ => Self::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| {
                Error::setting(
                    format!("cannot reduce by '{name}'"),
                    "there is no operation of that name",
                    format!("choose one of {}", Self::ALL.map(Self::name).join(", ")),
                )
            }),
        }
    }
}

impl fmt::Display for ReduceOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ReduceOp {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

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
/// [`Error::Misuse`] when the lengths differ, are no whole number of elements, or an address is not aligned for the
/// type.
pub fn reduce_into(op: ReduceOp, dtype: DType, accumulator: &mut [u8], input: &[u8]) -> Result<()> {
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
/// [`Error::Misuse`] when the lengths differ.
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

fn elements<T: Element>(dtype: DType, bytes: &[u8]) -> Result<&[T]> {
    bytemuck::try_cast_slice(bytes).map_err(|reason| uncastable(dtype, bytes.len(), reason))
}

fn elements_mut<T: Element>(dtype: DType, bytes: &mut [u8]) -> Result<&mut [T]> {
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
