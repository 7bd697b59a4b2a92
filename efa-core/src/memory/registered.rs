//! Memory that is registered with the device: [`RegisteredBuf`].

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};

use super::{Access, Buf, BufMut};
use crate::error::{Error, Result};
use crate::ffi::{AccessFlags, Registered};

/// Who registers memory and takes registrations back: the endpoint, which must hold its lock for both.
pub(crate) trait Registrar: Send + Sync {
    /// Registers `len` bytes from `start` for the given uses.
    ///
    /// # Safety
    /// The memory must stay allocated until the registration has been handed to `deregister`.
    unsafe fn register(&self, start: *mut u8, len: usize, access: AccessFlags) -> Result<Registered>;

    /// Ends a registration.
    fn deregister(&self, registered: Registered);

    /// Keeps memory that peers could reach until the endpoint is closed.
    fn retire(&self, memory: Box<dyn Any + Send>);

    /// Whether a region's registration must be kept, with its memory, until the endpoint is closed.
    fn keeps_windows(&self, access: super::Access) -> bool;

    /// Whether the device wants even local memory to be registered.
    fn wants_local_registration(&self) -> bool;

    /// The rank whose memory this is.
    fn rank(&self) -> usize;
}

/// A handle on whoever registers memory.
pub(crate) type Registry = Arc<dyn Registrar>;

/// Memory known to the device of one endpoint. Ends the registration when dropped.
pub struct Registration {
    registered: Option<Registered>,
    registry: Registry,
}

impl Registration {
    /// Registers memory.
    ///
    /// # Safety
    /// The memory must stay allocated for as long as the registration lives.
    pub(super) unsafe fn new(
        registry: &Registry,
        start: *mut u8,
        len: usize,
        access: AccessFlags,
    ) -> Result<Self> {
        // SAFETY: passed on to the caller.
        let registered = unsafe { registry.register(start, len, access)? };
        Ok(Self { registered: Some(registered), registry: registry.clone() })
    }

    /// Returns the provider's descriptor of the memory for local use by an endpoint, given by its address.
    ///
    /// It is null for any other endpoint than the one that registered the memory: there the descriptor means nothing, or
    /// other memory. Memory without a descriptor is registered for the operation where the device wants that.
    #[inline]
    pub(crate) fn descriptor(&self, endpoint: *const ()) -> *mut c_void {
        // We hold the registering endpoint, so no other endpoint has its address.
        if Arc::as_ptr(&self.registry).cast::<()>() != endpoint {
            return ptr::null_mut();
        }
        self.registered().descriptor()
    }

    pub(super) fn registered(&self) -> &Registered {
        self.registered.as_ref().expect("taken only by drop")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(registered) = self.registered.take() {
            self.registry.deregister(registered);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// Which pages a [`RegisteredBuf`] is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// The system's ordinary pages, 4 KiB on x86-64.
    #[default]
    Ordinary,
    /// 2 MiB pages from the system's pool (`vm.nr_hugepages`): fewer registrations' worth of table entries in the
    /// device. An error when the pool is empty.
    Huge,
    /// Ordinary pages that the kernel is asked to merge into huge ones when it can.
    Transparent,
}

impl Pages {
    /// The alignment that memory of these pages has at least.
    fn alignment(self) -> usize {
        match self {
            Self::Ordinary | Self::Transparent => ORDINARY_PAGE,
            Self::Huge => 1 << HUGE_PAGE_BITS,
        }
    }
}

/// The smallest page of any Linux system, in bytes.
const ORDINARY_PAGE: usize = 4096;
/// The size of the pages of [`Pages::Huge`], as a power of two.
const HUGE_PAGE_BITS: u8 = 21;

/// `len` elements of `T`, page-aligned, zeroed at first, and registered with the device of one endpoint.
///
/// It behaves like a slice, may be given to any operation, and outlives the endpoint if need be.
pub struct RegisteredBuf<T> {
    // Declared, and so dropped, before the memory it covers.
    registration: Option<Registration>,
    // Raw, so that getting at its address forms no reference to what the device or another piece may be using.
    pages: MmapRaw,
    len: usize,
    registry: Registry,
    element: PhantomData<T>,
}

impl<T: Pod> RegisteredBuf<T> {
    pub(crate) fn new(registry: &Registry, len: usize, kind: Pages) -> Result<Self> {
        let what = || format!("cannot allocate {len} elements of {} bytes", size_of::<T>());
        if align_of::<T>() > kind.alignment() {
            let why = format!(
                "they have to be aligned to {} bytes, and the memory is aligned to {}",
                align_of::<T>(),
                kind.alignment()
            );
            return Err(Error::misuse(what(), why, "use a type with a smaller alignment"));
        }
        let bytes =
            len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize).ok_or_else(
                || Error::misuse(what(), "that is more than an address space holds", "allocate less"),
            )?;
        let pages = map(bytes, kind).map_err(|source| {
            let remedy = match kind {
                Pages::Huge => "reserve huge pages (sysctl vm.nr_hugepages), or ask for ordinary pages",
                _ => "allocate less, or free memory",
            };
            Error::system(source, what(), remedy)
        })?;
        let registration = if registry.wants_local_registration() && bytes > 0 {
            // SAFETY: the pages are dropped after the registration, by order of the fields.
            Some(unsafe { Registration::new(registry, pages.as_mut_ptr(), bytes, AccessFlags::LOCAL)? })
        } else {
            None
        };
        Ok(Self { registration, pages, len, registry: registry.clone(), element: PhantomData })
    }

    /// How many elements there are.
    // Not by way of the slice: a region asks while its peers may be writing.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Opens the memory to the other ranks, who may then read it, write it, or both.
    ///
    /// # Errors
    /// [`Error::Fabric`] when the device refuses, for want of registrations or of the right to lock memory.
    pub fn expose(self, access: Access) -> Result<super::Region<T>> {
        let bytes = self.byte_len();
        // A device can't register nothing; a region of no elements gets one byte of its page.
        let start = self.pages.as_mut_ptr();
        // SAFETY: `Region` holds the buffer and drops the registration before it.
        let window = unsafe { Registration::new(&self.registry, start, bytes.max(1), access.flags())? };
        Ok(super::Region::new(window, self, access))
    }

    /// Cuts the buffer into pieces of `len` elements, the last one with what is left. Unlike the slices that
    /// `chunks_mut` gives they stay registered, so a [`scope`](crate::Endpoint::scope) can move a large buffer in many
    /// operations that register nothing.
    ///
    /// # Panics
    /// If `len` is zero.
    pub fn pieces_mut(&mut self, len: usize) -> impl Iterator<Item = RegisteredPiece<'_, T>> {
        let (elements, registration) = self.parts();
        elements.chunks_mut(len).map(move |elements| RegisteredPiece { elements, registration })
    }

    /// The elements, and the registration that goes with them.
    pub(crate) fn parts(&mut self) -> (&mut [T], Option<&Registration>) {
        // SAFETY: as in `deref_mut`.
        let elements = unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.len) };
        (elements, self.registration.as_ref())
    }

    /// Leaves the memory to the endpoint until that is closed: peers could reach it through the window, and may still
    /// write there.
    pub(super) fn retire(self, window: Registration, access: super::Access) {
        let window = self.registry.keeps_windows(access).then_some(window);
        self.registry.retire(Box::new((window, self.registration, self.pages)));
    }

    pub(super) fn rank(&self) -> usize {
        self.registry.rank()
    }
}

impl<T: Pod> Deref for RegisteredBuf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` elements, is aligned as `new` checked and initialised (zeroed, then written
        // through `T` or by the device), and `Pod` accepts every bit pattern.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast(), self.len) }
    }
}

impl<T: Pod> DerefMut for RegisteredBuf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes it exclusive, and remote access needs a `Region`, which owns us.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Pod> fmt::Debug for RegisteredBuf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredBuf").field("len", &self.len).field("bytes", &self.byte_len()).finish()
    }
}

// SAFETY: a mapping stays where it is until it is dropped.
unsafe impl<T: Pod> Buf for RegisteredBuf<T> {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        self.pages.as_ptr()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        self.len * size_of::<T>()
    }

    #[inline]
    fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }
}

// SAFETY: as above; the mapping is owned, and `Pod` accepts every bit pattern.
unsafe impl<T: Pod> BufMut for RegisteredBuf<T> {
    #[inline]
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.pages.as_mut_ptr()
    }
}

/// A part of a [`RegisteredBuf`], on loan: see [`RegisteredBuf::pieces_mut`].
pub struct RegisteredPiece<'a, T> {
    elements: &'a mut [T],
    registration: Option<&'a Registration>,
}

impl<T> Deref for RegisteredPiece<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T> DerefMut for RegisteredPiece<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.elements
    }
}

impl<T> fmt::Debug for RegisteredPiece<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredPiece").field("len", &self.elements.len()).finish()
    }
}

// SAFETY: the memory is borrowed exclusively, so it stays put and unchanged for the borrow.
unsafe impl<T: Pod> Buf for RegisteredPiece<'_, T> {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        self.elements.as_ptr().cast()
    }

    #[inline]
    fn byte_len(&self) -> usize {
        size_of_val(self.elements)
    }

    #[inline]
    fn registration(&self) -> Option<&Registration> {
        self.registration
    }
}

// SAFETY: as above, and `Pod` accepts every bit pattern.
unsafe impl<T: Pod> BufMut for RegisteredPiece<'_, T> {
    #[inline]
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.elements.as_mut_ptr().cast()
    }
}

/// Maps anonymous memory of at least `bytes`, never none.
fn map(bytes: usize, kind: Pages) -> std::io::Result<MmapRaw> {
    let mut options = MmapOptions::new();
    options.len(bytes.max(1));
    if kind == Pages::Huge {
        let page = 1usize << HUGE_PAGE_BITS;
        options.len(bytes.max(1).next_multiple_of(page)).huge(Some(HUGE_PAGE_BITS));
    }
    let pages = MmapRaw::from(options.map_anon()?);
    if kind == Pages::Transparent {
        // A kernel without transparent huge pages refuses the advice; ordinary pages do as well.
        let _ = pages.advise(memmap2::Advice::HugePage);
    }
    Ok(pages)
}
