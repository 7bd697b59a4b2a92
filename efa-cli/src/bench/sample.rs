//! Numbers to reduce whose result is known exactly in every element type.

use efa_core::collective::ReduceOp;
use efa_core::tensor::{Element, bf16, f16};

/// An element that can be made of a small whole number.
pub(super) trait Sample: Element + PartialEq {
    /// Makes an element of the number `value`, at most 127, which every type holds exactly.
    fn of(value: u8) -> Self;
}

macro_rules! samples {
    ($($element:ty: $from:expr),*) => {$(
        impl Sample for $element {
            fn of(value: u8) -> Self {
                $from(value)
            }
        }
    )*};
}

samples!(f32: f32::from, f64: f64::from, i16: i16::from, i32: i32::from, i64: i64::from);
samples!(u8: u8::from, u16: u16::from, u32: u32::from, u64: u64::from);
samples!(f16: |value| f16::from_f32(f32::from(value)), bf16: |value| bf16::from_f32(f32::from(value)));
samples!(i8: |value| value as i8);

/// Returns what rank `rank` of `ranks` puts in at `index`.
///
/// At each index one rank stands out, a different one at the next, so that a rank left out or counted twice shows.
/// The others contribute the neutral element, or for an average the same as that one: results stay below 6 however
/// many ranks there are.
pub(super) fn input<T: Sample>(op: ReduceOp, index: usize, rank: usize, ranks: usize) -> T {
    let stands_out = index % ranks == rank;
    T::of(match op {
        ReduceOp::Sum => {
            if stands_out {
                value(index)
            } else {
                0
            }
        }
        ReduceOp::Product => {
            if stands_out {
                value(index)
            } else {
                1
            }
        }
        ReduceOp::Min => {
            if stands_out {
                value(index)
            } else {
                9
            }
        }
        ReduceOp::Max => {
            if stands_out {
                value(index)
            } else {
                0
            }
        }
        ReduceOp::BitAnd => {
            if stands_out {
                value(index)
            } else {
                0x7f
            }
        }
        ReduceOp::BitOr | ReduceOp::BitXor => {
            if stands_out {
                value(index)
            } else {
                0
            }
        }
        ReduceOp::LogicalAnd => {
            if stands_out {
                truth(index)
            } else {
                1
            }
        }
        ReduceOp::LogicalOr | ReduceOp::LogicalXor => {
            if stands_out {
                truth(index)
            } else {
                0
            }
        }
        // Sums up to `ranks` times this, which the smallest types hold up to 25 ranks.
        ReduceOp::Average => {
            if ranks <= 25 {
                value(index)
            } else {
                0
            }
        }
    })
}

/// Returns what comes out at `index`, for any operation.
pub(super) fn output<T: Sample>(op: ReduceOp, index: usize, ranks: usize) -> T {
    match op {
        ReduceOp::Average if ranks > 25 => T::of(0),
        ReduceOp::LogicalAnd | ReduceOp::LogicalOr | ReduceOp::LogicalXor => T::of(truth(index)),
        _ => T::of(value(index)),
    }
}

fn value(index: usize) -> u8 {
    1 + (index % 5) as u8
}

fn truth(index: usize) -> u8 {
    value(index) % 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reduces the inputs of all ranks at one index, in a type that holds everything.
    fn reduced(op: ReduceOp, index: usize, ranks: usize) -> f64 {
        let inputs = (0..ranks).map(|rank| input::<f64>(op, index, rank, ranks));
        match op {
            ReduceOp::Sum => inputs.sum(),
            ReduceOp::Product => inputs.product(),
            ReduceOp::Min => inputs.fold(f64::MAX, f64::min),
            ReduceOp::Max => inputs.fold(f64::MIN, f64::max),
            ReduceOp::Average => inputs.sum::<f64>() / ranks as f64,
            _ => {
                let inputs = (0..ranks).map(|rank| input::<u64>(op, index, rank, ranks));
                let combine = |a: u64, b: u64| match op {
                    ReduceOp::BitAnd => a & b,
                    ReduceOp::BitOr => a | b,
                    ReduceOp::LogicalAnd => u64::from(a != 0 && b != 0),
                    ReduceOp::LogicalOr => u64::from(a != 0 || b != 0),
                    _ => a ^ b,
                };
                inputs.reduce(combine).unwrap_or(0) as f64
            }
        }
    }

    #[test]
    fn what_is_expected_is_what_the_inputs_reduce_to() {
        for op in ReduceOp::ALL {
            for ranks in [1, 2, 3, 7, 25, 26, 300] {
                for index in 0..1000 {
                    assert_eq!(
                        reduced(op, index, ranks),
                        output::<f64>(op, index, ranks),
                        "{op} {ranks} {index}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_rank_that_is_left_out_shows() {
        let ranks = 4;
        for missing in 0..ranks {
            let sum = |index| {
                (0..ranks)
                    .filter(|&rank| rank != missing)
                    .map(|rank| input::<f64>(ReduceOp::Sum, index, rank, ranks))
                    .sum::<f64>()
            };
            assert!(
                (0..10).any(|index| sum(index) != output::<f64>(ReduceOp::Sum, index, ranks)),
                "{missing}"
            );
        }
    }
}
