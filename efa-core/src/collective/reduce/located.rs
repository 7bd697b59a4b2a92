//! Values with their location: [`Located`].

use bytemuck::{Pod, Zeroable};

use super::ReduceOp;
use super::kernels::Kernel;
use crate::tensor::Element;

/// A value, and where it is from: a rank, say, or an index.
///
/// [`ReduceOp::Min`] and [`ReduceOp::Max`] of such find out where the least or the greatest value is, as MPI's
/// `MPI_MINLOC` and `MPI_MAXLOC` do. Of equal values the one with the least location counts, and a NaN counts more than
/// any number.
///
/// ```no_run
/// use efa_core::collective::{Located, ReduceOp};
///
/// # fn main() -> efa_core::Result<()> {
/// let world = efa_core::init()?;
/// let loss = 0.25f32;
/// let mut best = [Located::new(loss, world.rank() as u64)];
/// world.all_reduce_in_place(&mut best, ReduceOp::Min)?;
/// println!("rank {} has the least loss, {}", best[0].location(), best[0].value());
/// # world.finish()
/// # }
/// ```
// Packed, so that there is no padding, whose bytes would travel undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C, packed)]
pub struct Located<T> {
    value: T,
    location: u64,
}

impl<T: Element> Located<T> {
    /// A value with its location.
    pub fn new(value: T, location: u64) -> Self {
        Self { value, location }
    }

    /// The value.
    pub fn value(self) -> T {
        self.value
    }

    /// Where it is from.
    pub fn location(self) -> u64 {
        self.location
    }
}

/// Keeps, of each two, the least or the greatest.
pub(super) fn combine<T: Kernel + Element>(
    op: ReduceOp,
    accumulator: &mut [Located<T>],
    input: &[Located<T>],
) {
    for (a, &b) in accumulator.iter_mut().zip(input) {
        let (mut extreme, other) = ([a.value], [b.value]);
        T::combine(op, &mut extreme, &other);
        let is_extreme = |value: T| bytemuck::bytes_of(&value) == bytemuck::bytes_of(&extreme[0]);
        let (from_a, from_b) = (is_extreme(T::canonical(a.value)), is_extreme(T::canonical(b.value)));
        let location = match (from_a, from_b) {
            (true, true) => a.location.min(b.location),
            (true, false) => a.location,
            _ => b.location,
        };
        *a = Located { value: extreme[0], location };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{bf16, f16};

    fn combined<T: Kernel + Element>(op: ReduceOp, a: (T, u64), b: (T, u64)) -> Located<T> {
        let mut accumulator = [Located::new(a.0, a.1)];
        combine(op, &mut accumulator, &[Located::new(b.0, b.1)]);
        accumulator[0]
    }

    #[test]
    fn the_extreme_keeps_its_location_whatever_the_order() {
        fn check<T: Kernel + Element + PartialEq + std::fmt::Debug>(small: T, large: T) {
            for (op, expected) in [(ReduceOp::Min, (small, 3)), (ReduceOp::Max, (large, 2))] {
                for (a, b) in [((small, 3), (large, 2)), ((large, 2), (small, 3))] {
                    let found = combined(op, a, b);
                    assert_eq!((found.value(), found.location()), expected, "{op}");
                }
                assert_eq!(combined(op, (small, 5), (small, 4)).location(), 4);
                assert_eq!(combined(op, (small, 4), (small, 5)).location(), 4);
            }
        }
        check(-1i8, 1);
        check(1u64, u64::MAX);
        check(-0.0f32, 0.0);
        check(f64::NEG_INFINITY, 1.0);
        check(f16::from_f32(0.5), f16::from_f32(0.75));
        check(bf16::from_f32(-3.0), bf16::from_f32(-2.0));
    }

    #[test]
    fn a_nan_counts_more_than_any_number() {
        let other_nan = f32::from_bits(0xffc0_1234);
        for op in [ReduceOp::Min, ReduceOp::Max] {
            for nan in [f32::NAN, other_nan] {
                let found = combined(op, (1.0f32, 1), (nan, 7));
                assert!(found.value().is_nan() && found.location() == 7);
                assert_eq!(combined(op, (f32::NAN, 9), (nan, 7)).location(), 7);
                assert_eq!(combined(op, (nan, 7), (f32::INFINITY, 1)).location(), 7);
            }
        }
    }
}
