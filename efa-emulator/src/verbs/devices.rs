//! The list of devices, and what doesn't depend on one.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use crate::abi::verbs::{
    IBV_FORK_UNNEEDED, IBV_NODE_UNSPECIFIED, IBV_SYSFS_NAME_MAX, IBV_SYSFS_PATH_MAX,
    IBV_TRANSPORT_UNSPECIFIED, ibv_device,
};
use crate::device::{query, sysfs};
use crate::errno::{Errno, pointer};
use crate::process::Process;

/// A device in the list; it stays for the life of the program, as opened ones may.
#[repr(C)]
pub(crate) struct Device {
    pub(crate) c: ibv_device,
    pub(crate) process: Arc<Process>,
    pub(crate) index: u8,
}

/// Lists the emulated devices. Null with `errno` EINVAL if the environment is wrong, which is told on stderr.
///
/// # Safety
/// `count` must be null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_device_list(count: *mut c_int) -> *mut *mut ibv_device {
    let list = pointer(|| {
        let process = Process::current()?;
        // The list ends with a null pointer, and is freed by its user.
        // SAFETY: an allocation of pointers, all null.
        let list: *mut *mut ibv_device =
            unsafe { libc::calloc(process.devices.len() + 1, size_of::<*mut ibv_device>()) }.cast();
        if list.is_null() {
            return Err(Errno(libc::ENOMEM));
        }
        for index in 0..process.devices.len() {
            // SAFETY: `index` is below the number of entries.
            unsafe { *list.add(index) = Box::into_raw(Box::new(device(&process, index))).cast() };
        }
        if !count.is_null() {
            // SAFETY: the caller vouches for it.
            unsafe { *count = process.devices.len() as c_int };
        }
        Ok(list)
    });
    if list.is_null() && !count.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { *count = 0 };
    }
    list
}

/// Frees a list, not the devices in it.
///
/// # Safety
/// `list` must come from [`ibv_get_device_list`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_free_device_list(list: *mut *mut ibv_device) {
    // SAFETY: allocated with calloc by `ibv_get_device_list`.
    unsafe { libc::free(list.cast()) };
}

/// Returns the device's name.
///
/// # Safety
/// `device` must come from [`ibv_get_device_list`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_device_name(device: *mut ibv_device) -> *const c_char {
    // SAFETY: the caller vouches for the pointer; the name lives as long as the device.
    unsafe { (*device).name.as_ptr() }
}

/// Does nothing: programs may fork, since no memory is pinned.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_fork_init() -> c_int {
    0
}

/// Answers that fork support is not needed.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_is_fork_initialized() -> c_int {
    IBV_FORK_UNNEEDED
}

fn device(process: &Arc<Process>, index: usize) -> Device {
    let mut c = ibv_device {
        _ops: [None; 2],
        node_type: IBV_NODE_UNSPECIFIED,
        transport_type: IBV_TRANSPORT_UNSPECIFIED,
        name: [0; IBV_SYSFS_NAME_MAX],
        dev_name: [0; IBV_SYSFS_NAME_MAX],
        dev_path: [0; IBV_SYSFS_PATH_MAX],
        ibdev_path: [0; IBV_SYSFS_PATH_MAX],
    };
    let job = process.job.dir();
    query::copy_text(&mut c.name, &sysfs::name(index));
    query::copy_text(&mut c.dev_name, &format!("uverbs{index}"));
    query::copy_text(&mut c.dev_path, &sysfs::verbs_dir(job, index).to_string_lossy());
    query::copy_text(&mut c.ibdev_path, &sysfs::device_dir(job, index).to_string_lossy());
    Device { c, process: process.clone(), index: index as u8 }
}
