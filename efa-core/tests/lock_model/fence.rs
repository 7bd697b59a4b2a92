//! The fence that one thread executes for all, in the shape of the library's `endpoint/driver/fence.rs`.

use loom::sync::atomic::{Ordering, fence};

pub(super) fn is_there() -> bool {
    true
}

pub(super) fn for_all_threads() {
    fence(Ordering::SeqCst);
}
