//! Copies in and out of memory that somebody else may be using at the same time.
//!
//! An ordinary copy would be a data race, which the language leaves undefined. These copy by relaxed atomic accesses,
//! word by word: an access that overlaps another's may see old and new words, and nothing worse comes of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

const WORD: usize = size_of::<u64>();
/// Words that are copied in one turn of the loop, so that the loop itself costs little.
const UNROLLED: usize = 8;

/// Copies `len` bytes from shared memory to memory of our own.
///
/// # Safety
/// Both are valid for `len` bytes and don't overlap. Nobody else uses `own`; nobody else but by atomic accesses, or from
/// outside of this process, writes `shared`, which may be read-only.
pub(super) unsafe fn from_shared(shared: *const u8, own: *mut u8, len: usize) {
    // SAFETY: within the bytes that the caller vouches for. Atomic loads of at most a word don't write.
    let byte = |at: usize| unsafe { own.add(at).write((*shared.add(at).cast::<AtomicU8>()).load(Relaxed)) };
    // SAFETY: as above; `for_each_piece` gives whole words whose address in shared memory is aligned.
    let word = |at: usize| unsafe {
        let word = (*shared.add(at).cast::<AtomicU64>()).load(Relaxed);
        own.add(at).cast::<u64>().write_unaligned(word);
    };
    for_each_piece(shared, len, byte, word);
}

/// Copies `len` bytes of memory that somebody else may be writing to new memory. None if there is not so much.
///
/// # Safety
/// As [`from_shared`].
pub(crate) unsafe fn copy_of(shared: *const u8, len: usize) -> Option<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(len).ok()?;
    // SAFETY: there is room for so many bytes, and they are initialised then; the caller vouches for the rest.
    unsafe {
        from_shared(shared, copy.as_mut_ptr(), len);
        copy.set_len(len);
    }
    Some(copy)
}

/// Copies `len` bytes from memory of our own to shared memory.
///
/// # Safety
/// As [`from_shared`]; `shared` is writable, and nobody writes `own`.
pub(super) unsafe fn to_shared(own: *const u8, shared: *mut u8, len: usize) {
    // SAFETY: within the bytes that the caller vouches for.
    let byte = |at: usize| unsafe { (*shared.add(at).cast::<AtomicU8>()).store(own.add(at).read(), Relaxed) };
    // SAFETY: as above; `for_each_piece` gives whole words whose address in shared memory is aligned.
    let word = |at: usize| unsafe {
        let word = own.add(at).cast::<u64>().read_unaligned();
        (*shared.add(at).cast::<AtomicU64>()).store(word, Relaxed);
    };
    for_each_piece(shared, len, byte, word);
}

/// Calls `word` with the offset of each word of `start`'s memory that is aligned and within `len` bytes, and `byte` with
/// the offset of each byte before and after.
#[inline(always)]
fn for_each_piece(start: *const u8, len: usize, byte: impl Fn(usize), word: impl Fn(usize)) {
    let head = start.align_offset(WORD).min(len);
    let tail = len - (len - head) % WORD;
    (0..head).for_each(&byte);
    let mut at = head;
    while tail - at >= UNROLLED * WORD {
        for number in 0..UNROLLED {
            word(at + number * WORD);
        }
        at += UNROLLED * WORD;
    }
    while at < tail {
        word(at);
        at += WORD;
    }
    (tail..len).for_each(&byte);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn every_length_and_alignment_is_copied_and_nothing_beside_it() {
        let bytes: Vec<u8> = (0..200).collect();
        for len in (0..40).chain([63, 64, 65, 127, 128, 129, 150]) {
            for (from, to) in [(0, 0), (1, 0), (0, 3), (5, 5), (7, 2)] {
                let expected = [&[0xEE; 4][..], &bytes[from..from + len], &[0xEE; 4]].concat();
                let place = |target: &mut [u8]| target[to..].as_mut_ptr();
                let (mut out, mut back) = ([0xEE; 180], [0xEE; 180]);
                // SAFETY: all ranges are within their arrays, which nobody else uses.
                unsafe {
                    from_shared(bytes[from..].as_ptr(), place(&mut out).add(4), len);
                    to_shared(bytes[from..].as_ptr(), place(&mut back).add(4), len);
                }
                assert_eq!(out[to..to + len + 8], expected, "{len} bytes from {from} to {to}");
                assert_eq!(back, out, "{len} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn copies_that_overlap_in_time_are_no_data_race() {
        // Checked by Miri (ci/miri); elsewhere it shows that no word is torn.
        let shared = [const { AtomicU64::new(0) }; 16];
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..100u8 {
                    let own = [value; 16 * WORD];
                    // SAFETY: atomics may be written through a shared reference, and the other thread reads atomically.
                    unsafe {
                        to_shared(own.as_ptr(), shared.as_ptr().cast_mut().cast(), size_of_val(&shared))
                    };
                }
                done.store(true, Relaxed);
            });
            let mut own = [0u64; 16];
            while !done.load(Relaxed) {
                // SAFETY: as above.
                unsafe { from_shared(shared.as_ptr().cast(), own.as_mut_ptr().cast(), size_of_val(&shared)) };
                assert!(own.iter().all(|word| word.to_ne_bytes() == [word.to_ne_bytes()[0]; WORD]));
            }
        });
    }
}
