//! Remote atomics.

use crate::endpoint::Endpoint;
use crate::endpoint::request::Bufferless;
use crate::error::{Error, Result};
use crate::ffi::{AtomicCall, AtomicWidth, RemotePlace};
use crate::memory::RemoteRegion;

/// An integer that remote atomics work on: `u32`, `i32`, `u64`, `i64`.
pub trait AtomicInteger: private::Sealed + Copy {}

mod private {
    pub trait Sealed {
        #[doc(hidden)]
        const WIDE: bool;
        #[doc(hidden)]
        fn into_bits(self) -> u64;
        #[doc(hidden)]
        fn from_bits(bits: u64) -> Self;
    }
}

macro_rules! atomic_integer {
    ($($integer:ty: $unsigned:ty, $wide:literal;)*) => {$(
        impl AtomicInteger for $integer {}

        impl private::Sealed for $integer {
            const WIDE: bool = $wide;

            fn into_bits(self) -> u64 {
                (self as $unsigned).into()
            }

            fn from_bits(bits: u64) -> Self {
                bits as $unsigned as $integer
            }
        }
    )*};
}

atomic_integer! {
    u32: u32, false;
    i32: u32, false;
    u64: u64, true;
    i64: u64, true;
}

impl Endpoint {
    /// Adds `value`, with wrap-around, to the integer `offset` bytes into a peer's region, and returns what was there.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the provider has no remote atomics; else as [`Endpoint::write_blocking`].
    pub fn fetch_add<T: AtomicInteger>(&self, region: &RemoteRegion, offset: usize, value: T) -> Result<T> {
        self.atomic(AtomicCall::FetchAdd, region, offset, value.into_bits(), 0)
    }

    /// Puts `value` in place of the integer `offset` bytes into a peer's region, and returns what was there.
    ///
    /// # Errors
    /// As [`Endpoint::fetch_add`].
    pub fn swap<T: AtomicInteger>(&self, region: &RemoteRegion, offset: usize, value: T) -> Result<T> {
        self.atomic(AtomicCall::Swap, region, offset, value.into_bits(), 0)
    }

    /// Puts `value` in place of the integer `offset` bytes into a peer's region if that equals `expected`, and
    /// returns what was there: the exchange took place when that is `expected`.
    ///
    /// # Errors
    /// As [`Endpoint::fetch_add`].
    pub fn compare_swap<T: AtomicInteger>(
        &self,
        region: &RemoteRegion,
        offset: usize,
        expected: T,
        value: T,
    ) -> Result<T> {
        self.atomic(AtomicCall::CompareSwap, region, offset, value.into_bits(), expected.into_bits())
    }

    fn atomic<T: AtomicInteger>(
        &self,
        call: AtomicCall,
        region: &RemoteRegion,
        offset: usize,
        operand: u64,
        compare: u64,
    ) -> Result<T> {
        let bytes = size_of::<T>();
        region.check("use atomics on", true, true)?;
        let (address, key) = region.locate("change atomically", offset, bytes)?;
        if !offset.is_multiple_of(bytes) {
            return Err(Error::misuse(
                format!("cannot change {bytes} bytes at offset {offset} atomically"),
                "the offset is not a multiple of the integer's size",
                "align it",
            ));
        }
        let width = if T::WIDE { AtomicWidth::U64 } else { AtomicWidth::U32 };
        if !self.can_do_atomic(call, width) {
            return Err(Error::unsupported(
                format!("cannot do a remote atomic on {}", self.provider()),
                "the provider has none",
                "use shm or efa, or send a message to the owner of the memory",
            ));
        }
        let place = RemotePlace { address, key };
        let atomic = Bufferless::atomic(region.rank(), place, call, width);
        self.submit_atomic(atomic, operand, compare).map(T::from_bits)
    }
}
