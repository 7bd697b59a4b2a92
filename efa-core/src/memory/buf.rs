//! What memory the device may be given: the [`Buf`] and [`BufMut`] traits.

use std::sync::Arc;

use bytemuck::Pod;

use super::Registration;

/// Memory that can be handed to the device and read by it until the operation is over.
///
/// # Safety
/// For as long as the value lives, and wherever it is moved to, `as_ptr` must return the same address, and the
/// `byte_len` bytes from there must stay allocated, initialised and unchanged by anything but this value's owner. The
/// bytes must not be part of the value itself. A registration that is returned must cover all of the bytes.
pub unsafe trait Buf {
    /// Where the bytes start.
    fn as_ptr(&self) -> *const u8;

    /// How many bytes there are.
    fn byte_len(&self) -> usize;

    /// The registration that covers the bytes, for memory that has one.
    fn registration(&self) -> Option<&Registration> {
        None
    }
}

/// Memory that the device may also write.
///
/// # Safety
/// As [`Buf`]; in addition nobody else may read or write the bytes while the value is borrowed or owned by an
/// operation, and any bit pattern must be valid there.
pub unsafe trait BufMut: Buf {
    /// Where the bytes start.
    fn as_mut_ptr(&mut self) -> *mut u8;
}

// SAFETY: a vector's heap block stays put when the vector is moved, and only its owner can grow it.
unsafe impl<T: Pod> Buf for Vec<T> {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        self.as_slice().as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

// SAFETY: as above; `Pod` accepts every bit pattern, and an owned vector is not shared.
unsafe impl<T: Pod> BufMut for Vec<T> {
    #[inline]
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_slice().as_mut_ptr().cast()
    }
}

// SAFETY: a box's heap block stays put when the box is moved.
unsafe impl<T: Pod> Buf for Box<[T]> {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(&**self)
    }
}

// SAFETY: as above; `Pod` accepts every bit pattern, and a box is not shared.
unsafe impl<T: Pod> BufMut for Box<[T]> {
    #[inline]
    fn as_mut_ptr(&mut self) -> *mut u8 {
        (**self).as_mut_ptr().cast()
    }
}

// SAFETY: the shared block stays put and, `T` being `Pod`, has no interior mutability.
unsafe impl<T: Pod> Buf for Arc<[T]> {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(&**self)
    }
}

// SAFETY: the memory is borrowed, so it stays put and unchanged for the borrow.
unsafe impl<T: Pod> Buf for &[T] {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(&**self)
    }
}

// SAFETY: the memory is borrowed exclusively, so it stays put for the borrow.
unsafe impl<T: Pod> Buf for &mut [T] {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(&**self)
    }
}

// SAFETY: as above; `Pod` accepts every bit pattern, and the borrow is exclusive.
unsafe impl<T: Pod> BufMut for &mut [T] {
    #[inline]
    fn as_mut_ptr(&mut self) -> *mut u8 {
        (**self).as_mut_ptr().cast()
    }
}
