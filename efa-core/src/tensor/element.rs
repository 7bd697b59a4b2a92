//! Element types as types.

use half::{bf16, f16};

use super::DType;

/// A number that tensors hold and collectives reduce.
///
/// Plain old data: every pattern of bits is a value, there is no padding, and so memory that a peer wrote can be
/// read as elements without a check. Implemented for the twelve types that [`DType`] lists, and for no others.
pub trait Element: bytemuck::Pod + Send + Sync + 'static + sealed::Sealed {
    /// This type as a value.
    const DTYPE: DType;
}

mod sealed {
    /// Keeps [`Element`](super::Element) to the types that the kernels know.
    pub trait Sealed {}
}

macro_rules! elements {
    ($($element:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $element {}
        impl Element for $element {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(f16 => F16, bf16 => Bf16, f32 => F32, f64 => F64);
elements!(i8 => I8, i16 => I16, i32 => I32, i64 => I64);
elements!(u8 => U8, u16 => U16, u32 => U32, u64 => U64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_the_size_of_its_dtype() {
        fn check<T: Element>() {
            assert_eq!(std::mem::size_of::<T>(), T::DTYPE.size(), "{}", T::DTYPE);
        }
        check::<f16>();
        check::<bf16>();
        check::<f32>();
        check::<f64>();
        check::<i8>();
        check::<i16>();
        check::<i32>();
        check::<i64>();
        check::<u8>();
        check::<u16>();
        check::<u32>();
        check::<u64>();
    }
}
