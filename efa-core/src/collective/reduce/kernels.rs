//! The loops, written so that the compiler turns them into vector instructions.
//!
//! All types are combined where they lie, but for `f16`, which goes through `f32` in blocks that stay in the first-level
//! cache.

use half::slice::HalfFloatSliceExt;

use super::ReduceOp;
use crate::tensor::{bf16, f16};

/// Elements of `f16` that are widened at a time: two blocks of `f32` take 4 KiB.
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
///
/// An operation that does not exist for the type is refused before it comes here, and leaves everything as it is.
pub(super) trait Kernel: Sized {
    fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]);

    /// The value as an operation would leave it: a NaN is the one NaN there is.
    fn canonical(self) -> Self;

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
                    ReduceOp::BitAnd => zip(accumulator, input, |a, b| a & b),
                    ReduceOp::BitOr => zip(accumulator, input, |a, b| a | b),
                    ReduceOp::BitXor => zip(accumulator, input, |a, b| a ^ b),
                    ReduceOp::LogicalAnd => zip(accumulator, input, |a, b| Self::from((a != 0) & (b != 0))),
                    ReduceOp::LogicalOr => zip(accumulator, input, |a, b| Self::from((a != 0) | (b != 0))),
                    ReduceOp::LogicalXor => zip(accumulator, input, |a, b| Self::from((a != 0) ^ (b != 0))),
                }
            }

            fn canonical(self) -> Self {
                self
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
                    _ => {}
                }
            }

            fn canonical(self) -> Self {
                $canonical(self)
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

/// In one loop: a `bf16` is the upper half of the `f32` of the same value, so that widening and narrowing are integer
/// instructions like any other.
impl Kernel for bf16 {
    fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]) {
        let (wide, narrow) = (widen_bf16, narrow_bf16);
        match op {
            ReduceOp::Sum | ReduceOp::Average => {
                zip(accumulator, input, |a, b| narrow(canonical_f32(wide(a) + wide(b))));
            }
            ReduceOp::Product => zip(accumulator, input, |a, b| narrow(canonical_f32(wide(a) * wide(b)))),
            ReduceOp::Min => zip(accumulator, input, |a, b| narrow(min_f32(wide(a), wide(b)))),
            ReduceOp::Max => zip(accumulator, input, |a, b| narrow(max_f32(wide(a), wide(b)))),
            _ => {}
        }
    }

    fn canonical(self) -> Self {
        narrow_bf16(canonical_f32(widen_bf16(self)))
    }

    fn divide(elements: &mut [Self], ranks: usize) {
        let ranks = ranks as f32;
        for element in elements {
            *element = narrow_bf16(canonical_f32(widen_bf16(*element) / ranks));
        }
    }
}

#[inline(always)]
fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Rounds to nearest, ties to even. The kernels' one NaN stays a NaN when rounded like a number, as its lower half is
/// empty.
#[inline(always)]
fn narrow_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    bf16::from_bits((rounded >> 16) as u16)
}

/// In blocks, as the processor's conversion instructions are reached through calls that convert a slice.
impl Kernel for f16 {
    fn combine(op: ReduceOp, accumulator: &mut [Self], input: &[Self]) {
        let (mut a, mut b) = ([0f32; BLOCK], [0f32; BLOCK]);
        for (accumulator, input) in accumulator.chunks_mut(BLOCK).zip(input.chunks(BLOCK)) {
            let (a, b) = (&mut a[..input.len()], &mut b[..input.len()]);
            accumulator.convert_to_f32_slice(a);
            input.convert_to_f32_slice(b);
            f32::combine(op, a, b);
            accumulator.convert_from_f32_slice(a);
        }
    }

    fn canonical(self) -> Self {
        Self::from_f32(canonical_f32(self.to_f32()))
    }

    fn divide(elements: &mut [Self], ranks: usize) {
        let mut wide = [0f32; BLOCK];
        for elements in elements.chunks_mut(BLOCK) {
            let wide = &mut wide[..elements.len()];
            elements.convert_to_f32_slice(wide);
            f32::divide(wide, ranks);
            elements.convert_from_f32_slice(wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn combined<T: Kernel + Copy>(op: ReduceOp, a: T, b: T) -> T {
        let mut accumulator = [a];
        combine(op, &mut accumulator, &[b]);
        accumulator[0]
    }

    #[test]
    fn every_sum_of_two_bf16_is_the_exact_sum_rounded_once() {
        for a in (0..=u16::MAX).step_by(97).map(bf16::from_bits) {
            for b in (0..=u16::MAX).step_by(101).map(bf16::from_bits) {
                let sum = combined(ReduceOp::Sum, a, b);
                let exact = bf16::from_f64(a.to_f64() + b.to_f64());
                assert!(sum == exact || (sum.is_nan() && exact.is_nan()), "{a} + {b} = {sum}, not {exact}");
            }
        }
    }

    #[test]
    fn every_sum_of_two_f16_is_the_exact_sum_rounded_once() {
        for a in (0..=u16::MAX).step_by(97).map(f16::from_bits) {
            for b in (0..=u16::MAX).step_by(101).map(f16::from_bits) {
                let sum = combined(ReduceOp::Sum, a, b);
                let exact = f16::from_f64(a.to_f64() + b.to_f64());
                assert!(sum == exact || (sum.is_nan() && exact.is_nan()), "{a} + {b} = {sum}, not {exact}");
            }
        }
    }

    #[test]
    fn operations_on_floats_are_commutative_to_the_bit() {
        let odd =
            [0.0, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let nans = [0x7fc0_0001, 0xffc0_0000, 0x7f80_0001, 0xff80_1234].map(f32::from_bits);
        let values: Vec<f32> = odd.into_iter().chain(nans).collect();
        for op in ReduceOp::ALL.into_iter().filter(|op| op.exists_for(DType::F32)) {
            for &a in &values {
                for &b in &values {
                    let (x, y) = (combined(op, a, b), combined(op, b, a));
                    assert_eq!(x.to_bits(), y.to_bits(), "{op} of {a} and {b}");
                    let (x, y) =
                        (combined(op, f64::from(a), f64::from(b)), combined(op, f64::from(b), f64::from(a)));
                    assert_eq!(x.to_bits(), y.to_bits(), "{op} of {a} and {b}");
                    let (c, d) = (bf16::from_f32(a), bf16::from_f32(b));
                    assert_eq!(
                        combined(op, c, d).to_bits(),
                        combined(op, d, c).to_bits(),
                        "{op} of {c} and {d}"
                    );
                    let (c, d) = (f16::from_f32(a), f16::from_f32(b));
                    assert_eq!(
                        combined(op, c, d).to_bits(),
                        combined(op, d, c).to_bits(),
                        "{op} of {c} and {d}"
                    );
                }
            }
        }
    }

    #[test]
    fn min_and_max_keep_nan_and_know_the_sign_of_zero() {
        assert!(combined(ReduceOp::Min, 1.0f32, f32::NAN).is_nan());
        assert!(combined(ReduceOp::Max, f64::NAN, f64::INFINITY).is_nan());
        assert!(combined(ReduceOp::Max, f16::ONE, f16::NAN).is_nan());
        assert!(combined(ReduceOp::Min, bf16::NAN, bf16::ONE).is_nan());
        assert_eq!(combined(ReduceOp::Min, 0.0f32, -0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(combined(ReduceOp::Max, -0.0f64, 0.0).to_bits(), 0.0f64.to_bits());
        assert_eq!(combined(ReduceOp::Min, -1.0f32, -1.0), -1.0);
    }

    #[test]
    fn integers_wrap_and_averages_truncate() {
        assert_eq!(combined(ReduceOp::Sum, i8::MAX, 1), i8::MIN);
        assert_eq!(combined(ReduceOp::Product, u64::MAX, 2), u64::MAX - 1);
        let mut elements = [-7i8, 7, 0, i8::MIN];
        divide(&mut elements, 2);
        assert_eq!(elements, [-3, 3, 0, -64]);
        divide(&mut elements, 100_000);
        assert_eq!(elements, [0; 4]);
        let mut elements = [u64::MAX, i64::MAX as u64];
        divide(&mut elements, 1);
        assert_eq!(elements, [u64::MAX, i64::MAX as u64]);
    }

    #[test]
    fn bits_and_truth_values_are_those_of_both() {
        let of = |op| combined(op, 0b1100u8, 0b1010);
        assert_eq!(of(ReduceOp::BitAnd), 0b1000);
        assert_eq!(of(ReduceOp::BitOr), 0b1110);
        assert_eq!(of(ReduceOp::BitXor), 0b0110);
        for (a, b) in [(0i16, 0i16), (0, -5), (7, 0), (7, -5)] {
            let (x, y) = (a != 0, b != 0);
            assert_eq!(combined(ReduceOp::LogicalAnd, a, b), i16::from(x && y));
            assert_eq!(combined(ReduceOp::LogicalOr, a, b), i16::from(x || y));
            assert_eq!(combined(ReduceOp::LogicalXor, a, b), i16::from(x != y));
        }
    }

    #[test]
    fn blocks_leave_nothing_out() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let mut accumulator = vec![f16::from_f32(2.0); length];
            combine(ReduceOp::Sum, &mut accumulator, &vec![f16::from_f32(0.5); length]);
            divide(&mut accumulator, 5);
            assert!(accumulator.iter().all(|x| x.to_f32() == 0.5));
        }
    }
}
