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
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given to the device",
    label = "is not a `Buf`",
    note = "an operation by value takes memory that it can own: `Vec<T>`, `Box<[T]>`, `Arc<[T]>`, `String` or \
            `RegisteredBuf<T>`, where `T` is plain data (`bytemuck::Pod`)",
    note = "to use memory without giving it away, pass a slice (`&x[..]`) to a blocking call such as `send_blocking`, or \
            to an operation of `Endpoint::scope`"
)]
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
#[diagnostic::on_unimplemented(
    message = "the device cannot write into `{Self}`",
    label = "is not a `BufMut`",
    note = "an operation by value takes memory that it can own and write: `Vec<T>`, `Box<[T]>` or `RegisteredBuf<T>`, where \
            `T` is plain data (`bytemuck::Pod`)",
    note = "to use memory without giving it away, pass a slice (`&mut x[..]`) to a blocking call such as \
            `recv_blocking`, or to an operation of `Endpoint::scope`"
)]
pub unsafe trait BufMut: Buf {
    /// Where the bytes start.
    fn as_mut_ptr(&mut self) -> *mut u8;
}

/// Implements [`Buf`] for types that dereference to their bytes' slice, array or string.
macro_rules! buf {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        // SAFETY: the bytes are on the heap or borrowed, so they stay put when the value is moved. They are `Pod` or text, so
        // they are initialised and have no interior mutability. Nobody else can change them: the value owns them, shares
        // them read-only, or borrows them.
        unsafe impl<$($generics)*> Buf for $type {
            #[inline]
            fn as_ptr(&self) -> *const u8 {
                (**self).as_ptr().cast()
            }

            #[inline]
            fn byte_len(&self) -> usize {
                size_of_val(&**self)
            }
        }
    )*};
}

/// Implements [`BufMut`] for types that dereference to a slice or array that is theirs alone.
macro_rules! buf_mut {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        // SAFETY: as for `Buf`; the value owns the bytes or borrows them exclusively, and `Pod` accepts every bit pattern.
        unsafe impl<$($generics)*> BufMut for $type {
            #[inline]
            fn as_mut_ptr(&mut self) -> *mut u8 {
                (**self).as_mut_ptr().cast()
            }
        }
    )*};
}

buf! {
    [T: Pod] Vec<T>;
    [T: Pod] Box<[T]>;
    [T: Pod, const N: usize] Box<[T; N]>;
    [T: Pod] Arc<[T]>;
    [T: Pod, const N: usize] Arc<[T; N]>;
    [T: Pod] &[T];
    [T: Pod, const N: usize] &[T; N];
    [T: Pod] &mut [T];
    [T: Pod, const N: usize] &mut [T; N];
    [] String;
    [] Box<str>;
    [] Arc<str>;
    [] &str;
}

buf_mut! {
    [T: Pod] Vec<T>;
    [T: Pod] Box<[T]>;
    [T: Pod, const N: usize] Box<[T; N]>;
    [T: Pod] &mut [T];
    [T: Pod, const N: usize] &mut [T; N];
}

#[cfg(feature = "bytes")]
buf! {
    [] bytes::Bytes;
    [] bytes::BytesMut;
}

#[cfg(feature = "bytes")]
buf_mut! {
    [] bytes::BytesMut;
}
