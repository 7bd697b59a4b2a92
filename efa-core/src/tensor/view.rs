//! A type and a shape on bytes that lie elsewhere.

use super::{DType, Element};
use crate::{Error, Result};

/// A tensor to read: contiguous, row-major, borrowed.
///
/// ```
/// use efa_core::tensor::{DType, TensorView};
///
/// let weights = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let view = TensorView::from_slice(&weights, &[2, 3])?;
/// assert_eq!((view.dtype(), view.elements(), view.bytes().len()), (DType::F32, 6, 24));
/// assert_eq!(view.as_slice::<f32>()?[4], 5.0);
/// # Ok::<(), efa_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Views `bytes` as a tensor of `shape`. An empty shape is a scalar; any zero in it makes the tensor empty.
    ///
    /// # Errors
    /// [`Error::Misuse`] when `bytes` is not exactly as long as type and shape say.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self> {
        check_length(dtype, shape, bytes.len())?;
        Ok(Self { dtype, shape, bytes })
    }

    /// Views typed elements as a tensor of `shape`.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the shape has another number of elements.
    pub fn from_slice<T: Element>(elements: &'a [T], shape: &'a [usize]) -> Result<Self> {
        Self::new(T::DTYPE, shape, bytemuck::cast_slice(elements))
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extent of each dimension, the slowest varying first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// How many elements there are.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// The elements as they lie in memory.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Misuse`] when `T` is another type than [`dtype`](Self::dtype), or the bytes are not aligned for it, as
    /// may happen in a mapped file.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        check_type::<T>(self.dtype)?;
        bytemuck::try_cast_slice(self.bytes).map_err(|_| misaligned(self.dtype))
    }
}

/// A tensor to write: contiguous, row-major, borrowed.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a mut [u8],
}

impl<'a> TensorViewMut<'a> {
    /// Views `bytes` as a tensor of `shape`; see [`TensorView::new`].
    ///
    /// # Errors
    /// [`Error::Misuse`] when `bytes` is not exactly as long as type and shape say.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a mut [u8]) -> Result<Self> {
        check_length(dtype, shape, bytes.len())?;
        Ok(Self { dtype, shape, bytes })
    }

    /// Views typed elements as a tensor of `shape`.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the shape has another number of elements.
    pub fn from_slice<T: Element>(elements: &'a mut [T], shape: &'a [usize]) -> Result<Self> {
        Self::new(T::DTYPE, shape, bytemuck::cast_slice_mut(elements))
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extent of each dimension, the slowest varying first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// How many elements there are.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// The elements as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The elements as they lie in memory, to be written. Any bytes are valid elements.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements in row-major order, to be written.
    ///
    /// # Errors
    /// [`Error::Misuse`] when `T` is another type than [`dtype`](Self::dtype), or the bytes are not aligned for it.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        check_type::<T>(self.dtype)?;
        bytemuck::try_cast_slice_mut(self.bytes).map_err(|_| misaligned(self.dtype))
    }

    /// The same tensor, to read.
    pub fn as_view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: self.shape, bytes: self.bytes }
    }
}

fn check_length(dtype: DType, shape: &[usize], bytes: usize) -> Result<()> {
    // A zero anywhere makes the tensor empty, even where the other extents would overflow.
    let elements = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))
    };
    match elements.and_then(|n| n.checked_mul(dtype.size())) {
        Some(expected) if expected == bytes => Ok(()),
        expected => Err(Error::misuse(
            format!("cannot view {bytes} bytes as {dtype} of shape {shape:?}"),
            match expected {
                Some(expected) => format!("that shape takes {expected} bytes"),
                None => "that shape has more bytes than an address can reach".into(),
            },
            "pass exactly the bytes of the tensor, or correct its shape",
        )),
    }
}

fn check_type<T: Element>(dtype: DType) -> Result<()> {
    if T::DTYPE == dtype {
        return Ok(());
    }
    Err(Error::misuse(
        format!("cannot read the tensor as {}", T::DTYPE),
        format!("its elements are {dtype}"),
        "ask for the type that dtype() reports",
    ))
}

fn misaligned(dtype: DType) -> Error {
    Error::misuse(
        format!("cannot view the bytes as {dtype}"),
        format!("their address is not a multiple of {}", dtype.size()),
        "copy them into a slice or registered buffer of that type first",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_match_type_and_shape() {
        let bytes = [0u8; 24];
        assert_eq!(TensorView::new(DType::F32, &[2, 3], &bytes).unwrap().elements(), 6);
        assert_eq!(TensorView::new(DType::F64, &[3], &bytes).unwrap().elements(), 3);
        for shape in [&[2, 2][..], &[], &[7], &[usize::MAX, 2], &[0]] {
            assert!(matches!(TensorView::new(DType::F32, shape, &bytes), Err(Error::Misuse(_))), "{shape:?}");
        }
    }

    #[test]
    fn scalars_and_empty_tensors_are_tensors() {
        assert_eq!(TensorView::from_slice(&[7u16], &[]).unwrap().elements(), 1);
        assert_eq!(TensorView::new(DType::I8, &[usize::MAX, 0, usize::MAX], &[]).unwrap().elements(), 0);
    }

    #[test]
    fn a_tensor_is_read_and_written_only_as_what_it_is() {
        let mut data = [1i32, 2, 3, 4];
        let mut view = TensorViewMut::from_slice(&mut data, &[2, 2]).unwrap();
        assert!(view.as_mut_slice::<u32>().is_err());
        view.as_mut_slice::<i32>().unwrap()[3] = -4;
        assert_eq!(view.as_view().as_slice::<i32>().unwrap(), [1, 2, 3, -4]);
        assert!(view.as_view().as_slice::<f32>().is_err());
    }

    #[test]
    fn misaligned_bytes_are_an_error_and_not_a_panic() {
        let words = [0u64; 4];
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let view = TensorView::new(DType::F64, &[2], &bytes[1..17]).unwrap();
        assert!(matches!(view.as_slice::<f64>(), Err(Error::Misuse(_))));
        assert!(TensorView::new(DType::U8, &[16], &bytes[1..17]).unwrap().as_slice::<u8>().is_ok());
    }
}
