//! The folders in which a program looks up a device's PCI address, driver and NUMA node: like those under /sys, in the
//! job's folder. All processes of a job share them, because they would all write the same.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::query::{PART, VENDOR};
use crate::errno::Errno;

/// Returns the name of the device with an index.
pub(crate) fn name(index: usize) -> String {
    format!("efa_{index}")
}

/// Returns the device's folder, in a job's folder.
pub(crate) fn device_dir(job: &Path, index: usize) -> PathBuf {
    job.join("sys/class/infiniband").join(name(index))
}

/// Returns the folder of the device file in the tree.
pub(crate) fn verbs_dir(job: &Path, index: usize) -> PathBuf {
    job.join("sys/class/infiniband_verbs").join(format!("uverbs{index}"))
}

/// Makes the tree for the first `devices` devices. What is there already stays.
pub(crate) fn make(job: &Path, devices: usize) -> Result<(), Errno> {
    let sys = job.join("sys");
    let class = sys.join("class/infiniband_verbs");
    fs::create_dir_all(sys.join("bus/pci/drivers/efa"))?;
    fs::create_dir_all(&class)?;
    write(&class.join("abi_version"), "6")?;
    for index in 0..devices {
        // Real instances spread their interfaces over PCI domains; one bus with a device each will do.
        let address = format!("0000:{:02x}:00.0", index + 0x10);
        let pci = sys.join("devices/pci0000:00").join(&address);
        fs::create_dir_all(&pci)?;
        write(&pci.join("vendor"), &format!("{VENDOR:#06x}"))?;
        write(&pci.join("device"), &format!("{PART:#06x}"))?;
        write(&pci.join("class"), "0x020000")?;
        write(&pci.join("numa_node"), "0")?;
        link("../../../bus/pci/drivers/efa", &pci.join("driver"))?;
        let target = format!("../../../devices/pci0000:00/{address}");
        for dir in [device_dir(job, index), verbs_dir(job, index)] {
            fs::create_dir_all(&dir)?;
            link(&target, &dir.join("device"))?;
        }
        write(&verbs_dir(job, index).join("ibdev"), &name(index))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Errno> {
    if path.exists() {
        return Ok(());
    }
    // Under another name first: another process may read it as soon as it is there.
    let new = path.with_extension(std::process::id().to_string());
    fs::write(&new, format!("{text}\n"))?;
    Ok(fs::rename(&new, path)?)
}

fn link(target: &str, path: &Path) -> Result<(), Errno> {
    match symlink(target, path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_leads_to_address_and_driver() {
        let job = tempfile::tempdir().unwrap();
        make(job.path(), 2).unwrap();
        make(job.path(), 3).unwrap();
        for index in 0..3 {
            let device = fs::canonicalize(device_dir(job.path(), index).join("device")).unwrap();
            let address = format!("0000:{:02x}:00.0", index + 0x10);
            assert_eq!(device.file_name().unwrap().to_str(), Some(address.as_str()));
            let driver = fs::canonicalize(device_dir(job.path(), index).join("device/driver")).unwrap();
            assert_eq!(driver.file_name().unwrap().to_str(), Some("efa"));
        }
        let version = fs::read_to_string(job.path().join("sys/class/infiniband_verbs/abi_version")).unwrap();
        assert_eq!(version, "6\n");
    }
}
