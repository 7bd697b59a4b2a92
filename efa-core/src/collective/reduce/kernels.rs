//! The loops, written so that the compiler turns them into vector instructions.
//!
//! Numbers of 32 and 64 bits and all integers are combined where they lie. Half precision goes through `f32` in blocks
//! that stay in the first-level cache, so that each of the three passes over a block is a simple loop.

use half::slice::HalfFloatSliceExt;

use super::ReduceOp;
use crate::tensor::{bf16, f16};

/// Elements of half precision that are widened at a time: three blocks of `f32` take 6 KiB.
const BLOCK: usize = 512;

/// Combines `input` into `accumulator`; both have the same length.
pub(super) fn combine<T: Kernel>(op: ReduceOp, accumulator: &mut [T], input: &[T]) {
    T::combine(op, accumulator, input);
}

/// Divides every element by `ranks`.
pub(super) fn divide<T: Kernel>(elements: &mut [T], ranks: usize) {
    T::divide(elements, ranks);
}

/// The loops for one element type.
pub(super) trait Kernel: Sized {
    fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]);
    fn divide(elements: &mut [Self], ranks: usize);
}

/// `f` on every pair of elements.
#[inline(always)]
fn zip<T: Copy>(accumulator: &mut [T], input: &[T], f: impl Fn(T, T) -> T) {
    for (a, &b) in accumulator.iter_mut().zip(input) {
        *a = f(*a, b);
    }
}

macro_rules! integers {
    ($($T:ty => $wide:ty),*) => {$(
        impl Kernel for $T {
            fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]) {
                match op {
                    ReduceOp::Sum | ReduceOp::Average => zip(accumulator, input, Self::wrapping_add),
                    ReduceOp::Product => zip(accumulator, input, Self::wrapping_mul),
                    ReduceOp::Min => zip(accumulator, input, Self::min),
                    ReduceOp::Max => zip(accumulator, input, Self::max),
                }
            }

            fn divide(elements: &mut [Self], ranks: usize) {
                // In 64 bits, as there may be more ranks than a short integer counts.
                let ranks = ranks as $wide;
                for element in elements {
                    *element = (<$wide>::from(*element) / ranks) as Self;
                }
            }
        }
    )*};
}

integers!(i8 => i64, i16 => i64, i32 => i64, i64 => i64, u8 => u64, u16 => u64, u32 => u64, u64 => u64);

macro_rules! floats {
    ($($T:ty => $min:ident, $max:ident, $canonical:ident),*) => {$(
        /// The one NaN there is, in place of any other.
        #[inline(always)]
        fn $canonical(x: $T) -> $T {
            if x.is_nan() { <$T>::NAN } else { x }
        }

        #[inline(always)]
        fn $min(a: $T, b: $T) -> $T {
            let less = if a < b { a } else { b };
            // Equal numbers differ in the sign of zero at most: negative if either is.
            let least = if a == b { <$T>::from_bits(a.to_bits() | b.to_bits()) } else { less };
            if a.is_nan() | b.is_nan() { <$T>::NAN } else { least }
        }

        #[inline(always)]
        fn $max(a: $T, b: $T) -> $T {
            let more = if a > b { a } else { b };
            let greatest = if a == b { <$T>::from_bits(a.to_bits() & b.to_bits()) } else { more };
            if a.is_nan() | b.is_nan() { <$T>::NAN } else { greatest }
        }

        impl Kernel for $T {
            fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]) {
                match op {
                    ReduceOp::Sum | ReduceOp::Average => zip(accumulator, input, |a, b| $canonical(a + b)),
                    ReduceOp::Product => zip(accumulator, input, |a, b| $canonical(a * b)),
                    ReduceOp::Min => zip(accumulator, input, $min),
                    ReduceOp::Max => zip(accumulator, input, $max),
                }
            }

            fn divide(elements: &mut [Self], ranks: usize) {
                let ranks = ranks as Self;
                for element in elements {
                    *element = $canonical(*element / ranks);
                }
            }
        }
    )*};
}

floats!(f32 => min_f32, max_f32, canonical_f32, f64 => min_f64, max_f64, canonical_f64);

/// Half precision through `f32`.
macro_rules! halves {
    ($($T:ty => $widen:expr, $narrow:expr);*) => {$(
        impl Kernel for $T {
            fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]) {
                let (mut a, mut b) = ([0f32; BLOCK], [0f32; BLOCK]);
                for (accumulator, input) in accumulator.chunks_mut(BLOCK).zip(input.chunks(BLOCK)) {
                    let (a, b) = (&mut a[..input.len()], &mut b[..input.len()]);
                    $widen(accumulator, a);
                    $widen(input, b);
                    f32::combine(op, a, b);
                    $narrow(a, accumulator);
                }
            }

            fn divide(elements: &mut [Self], ranks: usize) {
                let mut wide = [0f32; BLOCK];
                for elements in elements.chunks_mut(BLOCK) {
                    let wide = &mut wide[..elements.len()];
                    $widen(elements, wide);
                    f32::divide(wide, ranks);
                    $narrow(wide, elements);
                }
            }
        }
    )*};
}

halves!(f16 => widen_f16, narrow_f16; bf16 => widen_bf16, narrow_bf16);

/// With the processor's conversion instructions where it has them.
fn widen_f16(from: &[f16], to: &mut [f32]) {
    from.convert_to_f32_slice(to);
}

fn narrow_f16(from: &[f32], to: &mut [f16]) {
    to.convert_from_f32_slice(from);
}

/// A `bf16` is the upper half of the `f32` of the same value.
fn widen_bf16(from: &[bf16], to: &mut [f32]) {
    for (from, to) in from.iter().zip(to) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
}

/// Rounds to nearest, ties to even. The kernels' one NaN stays a NaN when rounded like a number, as its lower half is
/// empty.
fn narrow_bf16(from: &[f32], to: &mut [bf16]) {
    for (from, to) in from.iter().zip(to) {
        let bits = from.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        *to = bf16::from_bits((rounded >> 16) as u16);
    }
}
