//! Random numbers of every element type, and what their reduction should be.

use std::fmt::Debug;

use efa_core::collective::ReduceOp;
use efa_core::tensor::{Element, bf16, f16};

/// A small generator with a seed (splitmix64), so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// An element type with a reference for every operation.
pub(crate) trait Number: Element + Debug + PartialEq {
    /// Any value for integers; for floats one that keeps sums and products in range.
    fn random(random: &mut Random) -> Self;

    /// What memory holds before anybody wrote to it.
    fn rubbish() -> Self;

    /// The reduction of `values`, and how far from it a result may be.
    fn reference(op: ReduceOp, values: impl Iterator<Item = Self> + Clone) -> (Self, f64);

    /// True within `slack` of `expected`; exactly equal where it is zero.
    fn is_near(self, expected: Self, slack: f64) -> bool;
}

macro_rules! integers {
    ($($T:ty),*) => {$(
        impl Number for $T {
            fn random(random: &mut Random) -> Self {
                // Now and then zero, for the operations on truth values.
                if random.below(8) == 0 { 0 } else { random.next() as Self }
            }

            fn rubbish() -> Self {
                0x5a
            }

            fn reference(op: ReduceOp, values: impl Iterator<Item = Self> + Clone) -> (Self, f64) {
                let sum = || values.clone().fold(0 as Self, |a, b| a.wrapping_add(b));
                let result = match op {
                    ReduceOp::Sum => sum(),
                    ReduceOp::Product => values.fold(1 as Self, |a, b| a.wrapping_mul(b)),
                    ReduceOp::Min => values.min().unwrap(),
                    ReduceOp::Max => values.max().unwrap(),
                    ReduceOp::Average => (i128::from(sum()) / values.clone().count() as i128) as Self,
                    ReduceOp::BitAnd => values.reduce(|a, b| a & b).unwrap(),
                    ReduceOp::BitOr => values.reduce(|a, b| a | b).unwrap(),
                    ReduceOp::BitXor => values.reduce(|a, b| a ^ b).unwrap(),
                    ReduceOp::LogicalAnd => Self::from(values.clone().all(|value| value != 0)),
                    ReduceOp::LogicalOr => Self::from(values.clone().any(|value| value != 0)),
                    ReduceOp::LogicalXor => Self::from(values.filter(|&value| value != 0).count() % 2 == 1),
                };
                (result, 0.0)
            }

            fn is_near(self, expected: Self, _: f64) -> bool {
                self == expected
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($T:ty: $from_f64:expr, $to_f64:expr, $epsilon:expr);*) => {$(
        impl Number for $T {
            fn random(random: &mut Random) -> Self {
                // Between a half and one and a half, of either sign.
                let size = 0.5 + random.below(1 << 20) as f64 / f64::from(1 << 20);
                $from_f64(if random.next() % 2 == 0 { size } else { -size })
            }

            fn rubbish() -> Self {
                <$T>::NAN
            }

            fn reference(op: ReduceOp, values: impl Iterator<Item = Self> + Clone) -> (Self, f64) {
                let values = values.map($to_f64);
                let count = values.clone().count() as f64;
                let sum: f64 = values.clone().sum();
                let magnitude: f64 = values.clone().map(f64::abs).sum();
                let product: f64 = values.clone().product();
                let (result, slack) = match op {
                    ReduceOp::Sum => (sum, count * magnitude * $epsilon),
                    ReduceOp::Product => (product, count * product.abs() * $epsilon),
                    ReduceOp::Min => (values.fold(f64::INFINITY, f64::min), 0.0),
                    ReduceOp::Max => (values.fold(f64::NEG_INFINITY, f64::max), 0.0),
                    ReduceOp::Average => (sum / count, (count + 1.0) * magnitude / count * $epsilon),
                    _ => panic!("{op} does not exist for floats"),
                };
                ($from_f64(result), slack)
            }

            fn is_near(self, expected: Self, slack: f64) -> bool {
                ($to_f64(self) - $to_f64(expected)).abs() <= slack
            }
        }
    )*};
}

floats! {
    f16: f16::from_f64, f16::to_f64, f64::from(f16::EPSILON);
    bf16: bf16::from_f64, bf16::to_f64, f64::from(bf16::EPSILON);
    f32: |x: f64| x as f32, f64::from, f64::from(f32::EPSILON);
    f64: |x: f64| x, |x: f64| x, f64::EPSILON
}
