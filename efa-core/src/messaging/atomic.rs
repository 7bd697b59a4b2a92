//! Remote atomics.

use crate::endpoint::Endpoint;
use crate::endpoint::engine::backlog::Call;
use crate::endpoint::engine::slot::{Kind, Operands, OperationInfo};
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
        let (shared, bytes) = (&*self.shared, size_of::<T>());
        region.check("use atomics on", true, true)?;
        let (address, key) = region.locate("change atomically", offset, bytes)?;
        if !offset.is_multiple_of(bytes) {
            return Err(Error::misuse(
                format!("cannot change {bytes} bytes at offset {offset} atomically"),
                "the offset is not a multiple of the integer's size",
                "align it",
            ));
        }
        let at = shared.address(region.rank())?;
        let info = OperationInfo {
            kind: Kind::Atomic,
            peer: Some(region.rank() as u32),
            tag: 0,
            bytes,
            group: None,
        };
        let call = Call::Atomic {
            at,
            place: RemotePlace { address, key },
            call,
            width: if T::WIDE { AtomicWidth::U64 } else { AtomicWidth::U32 },
        };
        let mut core = shared.lock();
        self.check_atomics(&core, call)?;
        let id = shared.start_atomic(&mut core, info, call, Operands { operand, compare, result: 0 });
        let (mut core, _) = shared.wait_locked(core, id, Default::default());
        let result = core.slots.read_operands(id).result;
        shared.take_result(core, id)?;
        Ok(T::from_bits(result))
    }

    fn check_atomics(&self, core: &crate::endpoint::engine::Engine, call: Call) -> Result<()> {
        let Call::Atomic { call, width, .. } = call else { return Ok(()) };
        let able = self.shared.limits.atomics
            && core.endpoint().is_none_or(|endpoint| endpoint.can_do_atomic(call, width));
        if able {
            return Ok(());
        }
        Err(Error::unsupported(
            format!("cannot do a remote atomic on {}", self.provider()),
            "the provider has none",
            "use shm or efa, or send a message to the owner of the memory",
        ))
    }
}
