//! A buffer in the device's hands: [`Held`].

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};

/// A buffer whose memory the device may be using while the value is moved.
///
/// The compiler takes a `Box` or `&mut` that is moved for the only way to its memory from then on, and the address that
/// the device was given before for a way that has ended. Of what is in a `MaybeUninit` it assumes nothing. So a buffer is
/// put in here before its address is taken, and comes out when the device is done with it.
pub(crate) struct Held<B>(
    /// Initialised until this is dropped.
    MaybeUninit<B>,
);

impl<B> Held<B> {
    #[inline]
    pub(crate) fn new(buffer: B) -> Self {
        Self(MaybeUninit::new(buffer))
    }

    /// Borrows the buffer before the device is given its address.
    #[inline]
    pub(crate) fn before(&mut self) -> &mut B {
        // SAFETY: initialised in `new`, and whatever ends that takes `self`.
        unsafe { self.0.assume_init_mut() }
    }

    /// Returns the buffer. The device must be done with it.
    #[inline]
    pub(crate) fn into_inner(self) -> B {
        let this = ManuallyDrop::new(self);
        // SAFETY: as in `before`; `this` is neither used again nor dropped.
        unsafe { this.0.assume_init_read() }
    }
}

impl<B> Drop for Held<B> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `before`, and nothing uses it after this.
        unsafe { self.0.assume_init_drop() }
    }
}

impl<B> fmt::Debug for Held<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::hint::black_box;
    use std::sync::Arc;

    use super::*;
    use crate::memory::BufMut;

    /// What an operation does with its buffer: it is moved from function to function and onto the heap, and the device
    /// writes to it in between. Miri (ci/miri) finds the writes undefined where a buffer is moved as it is.
    fn use_while_moved<B: BufMut>(buffer: B) -> B {
        let mut held = Held::new(buffer);
        let len = held.before().byte_len();
        let device = held.before().as_mut_ptr();
        let write = |value: u8| {
            for at in 0..len {
                // SAFETY: within the buffer, which is held.
                unsafe { device.add(at).write(value) };
            }
        };
        write(1);
        let moved = black_box(Some(held));
        write(2);
        let parked = Box::new(moved);
        write(3);
        parked.expect("put in above").into_inner()
    }

    #[test]
    fn the_device_may_write_to_a_buffer_that_is_moved() {
        assert_eq!(use_while_moved(vec![0u8; 10]), [3; 10]);
        assert_eq!(*use_while_moved(vec![0u8; 10].into_boxed_slice()), [3; 10]);
        let mut array = [0u8; 10];
        use_while_moved(&mut array[..]);
        assert_eq!(array, [3; 10]);
    }

    #[test]
    fn a_held_buffer_is_dropped_once_or_given_back() {
        let buffer = Arc::new(());
        drop(Held::new(buffer.clone()));
        assert_eq!(Arc::strong_count(&buffer), 1);
        let parked: Box<dyn Any + Send> = Box::new(Held::new(buffer.clone()));
        assert_eq!(Arc::strong_count(&buffer), 2);
        drop(parked);
        assert_eq!(Arc::strong_count(&buffer), 1);
        let back = Held::new(buffer.clone()).into_inner();
        assert_eq!(Arc::strong_count(&back), 2);
    }
}
