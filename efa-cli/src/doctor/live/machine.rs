//! Checks of what users miss most on a machine: devices that are not attached, shared memory without its fast path, two
//! copies of libfabric, the installer's version, GPU memory.

use std::collections::BTreeSet;
use std::fs;

use efa_core::admission::most_efas;

use super::checks::{Check, System, note, ok, parsed, warning};

/// Installers of which ParallelCluster's release notes tell that they have a driver for a device: 1.22.1 has driver 2.1.1,
/// 1.41.0 has driver 2.15.0 (2023, 2025).
const INSTALLERS: [(&str, [u32; 3]); 2] = [("0xefa2", [1, 22, 1]), ("0xefa3", [1, 41, 0])];

impl System<'_> {
    /// Returns these checks, in a fixed order.
    pub(super) fn machine(&self) -> Vec<Check> {
        let mut checks = vec![self.attached()];
        checks.extend(self.queue_pairs());
        checks.extend([self.cross_memory(), self.copies(), self.installer()]);
        checks.extend(self.gpu());
        checks
    }

    /// Checks the devices there are against those that the instance type can have. On EC2 the firmware names the type.
    fn attached(&self) -> Check {
        let here = self.on_the_bus();
        let name = self.read("sys/devices/virtual/dmi/id/product_name");
        match most_efas(&name) {
            None => note("efa-attached", "how many EFAs this machine can have is not known".into()),
            Some(0) => note("efa-attached", format!("a {name} has no EFA")),
            Some(most) if here < most => {
                let detail = format!("{here} of the {most} EFAs that a {name} takes");
                let fix = "aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values=INSTANCE_ID  \
                           # EFAs are attached at launch, or while the instance is stopped";
                match here {
                    0 => warning("efa-attached", detail, fix.into()),
                    _ => note("efa-attached", detail),
                }
            }
            Some(most) => ok("efa-attached", format!("{here} of the {most} EFAs that a {name} takes")),
        }
    }

    /// Checks the queue pairs of the device that the ranks of this host open: each takes one, and one more fails.
    fn queue_pairs(&self) -> Option<Check> {
        const NAME: &str = "efa-queue-pairs";
        let most = self.queue_pairs?;
        let detail = format!("{most} on the device, {} ranks on this host", self.local_ranks);
        Some(match self.local_ranks <= most {
            true => ok(NAME, detail),
            false => {
                let start = match self.slurm {
                    true => format!("srun --ntasks-per-node={most} ..."),
                    false => format!("efa run -n {most} ..."),
                };
                warning(NAME, detail, format!("{start}  # at most so many ranks on a host"))
            }
        })
    }

    /// Checks whether ranks may read each other's memory, which is how shm moves large messages with one copy
    /// (`process_vm_readv(2)`; Yama, in the kernel's documentation of security modules).
    fn cross_memory(&self) -> Check {
        const NAME: &str = "cross-memory";
        let scope = self.read("proc/sys/kernel/yama/ptrace_scope");
        match scope.as_str() {
            "" => ok(NAME, "no kernel.yama.ptrace_scope in the way".into()),
            "0" => ok(NAME, "kernel.yama.ptrace_scope is 0".into()),
            scope => {
                let detail = format!("kernel.yama.ptrace_scope is {scope}: shm copies large messages twice");
                let fix =
                    "sudo sysctl kernel.yama.ptrace_scope=0  # in a container: the host's setting counts";
                match self.local_ranks {
                    0 | 1 => note(NAME, detail),
                    _ => warning(NAME, detail, fix.into()),
                }
            }
        }
    }

    /// Looks for several copies of libfabric in one process: each opens the devices for itself, and their settings
    /// differ.
    fn copies(&self) -> Check {
        const NAME: &str = "libfabric-copies";
        let maps = self.read("proc/self/maps");
        let loaded: BTreeSet<&str> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("libfabric.so")))
            .collect();
        let listed = loaded.iter().copied().collect::<Vec<_>>().join(", ");
        let built_in = self.libfabric.as_ref().is_ok_and(|library| library.contains(", built-in ("));
        match loaded.len() + usize::from(built_in) {
            0 | 1 => ok(NAME, if listed.is_empty() { "one, built in".into() } else { listed }),
            copies => {
                let with = if built_in { ", and the one built in" } else { "" };
                let fix = "env | grep -E 'LD_PRELOAD|LD_LIBRARY_PATH|EFA_LIBFABRIC'  # use one copy for all of the process";
                warning(NAME, format!("{copies} in this process: {listed}{with}"), fix.into())
            }
        }
    }

    /// Checks the version that AWS's installer leaves behind.
    fn installer(&self) -> Check {
        let text = self.read("opt/amazon/efa_installed_packages");
        match text.lines().find_map(|line| line.split_once("EFA installer version:")) {
            Some((_, version)) => {
                let device = self.devices_on_the_bus().into_iter().max().unwrap_or_default();
                let good = INSTALLERS.iter().find(|(id, _)| *id == device).map(|(_, good)| good);
                match (parsed(version.trim()), good) {
                    (Some(here), Some(good)) if here < *good => {
                        let [major, minor, patch] = good;
                        let detail = format!(
                            "{}; {major}.{minor}.{patch} is known to have a driver for the device {device}",
                            version.trim()
                        );
                        note("efa-installer", detail)
                    }
                    _ => ok("efa-installer", version.trim().to_owned()),
                }
            }
            None => note("efa-installer", "no /opt/amazon/efa_installed_packages".into()),
        }
    }

    /// Checks whether the EFA could reach the memory of NVIDIA's GPUs; this library uses that of the host only.
    fn gpu(&self) -> Option<Check> {
        if !self.root.join("sys/module/nvidia").exists() {
            return None;
        }
        let detail = match self.root.join("sys/module/efa_nv_peermem").exists() {
            true => "efa_nv_peermem is loaded",
            false => {
                "efa_nv_peermem is not loaded: only dmabuf is left, which takes Linux 5.12 and NVIDIA's open modules"
            }
        };
        Some(note("gpu-memory", detail.into()))
    }

    /// Returns the file's text without white space around it; empty where there is none.
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::checks::State;
    use super::super::checks::tests::root;
    use super::*;

    fn check(files: &[(&str, &str)], libfabric: &str, name: &str) -> Option<Check> {
        let root = root(files);
        let system = system(root.path(), libfabric);
        system.machine().into_iter().find(|check| check.name == name)
    }

    fn system<'a>(root: &'a Path, libfabric: &str) -> System<'a> {
        System {
            root,
            memlock: None,
            driven: 0,
            offered: 0,
            queue_pairs: None,
            providers: Vec::new(),
            libfabric: Ok(libfabric.into()),
            shared: None,
            local_ranks: 4,
            container: None,
            slurm: false,
            emulated: None,
        }
    }

    const TYPE: &str = "sys/devices/virtual/dmi/id/product_name";

    #[test]
    fn devices_are_held_against_what_the_instance_type_takes() {
        let none = check(&[(TYPE, "p5.48xlarge\n")], "", "efa-attached").expect("a check");
        assert_eq!(
            (none.state, none.text.what.as_str()),
            (State::Warning, "0 of the 32 EFAs that a p5.48xlarge takes")
        );
        let device = "sys/bus/pci/devices/0000:00:1e.0";
        let (vendor, id) = (format!("{device}/vendor"), format!("{device}/device"));
        let files = [(TYPE, "c7gn.16xlarge"), (vendor.as_str(), "0x1d0f\n"), (id.as_str(), "0xefa2\n")];
        assert_eq!(check(&files, "", "efa-attached").expect("a check").state, State::Ok);
        let plain = check(&[(TYPE, "t3.micro")], "", "efa-attached").expect("a check");
        assert_eq!((plain.state, plain.text.what.as_str()), (State::Note, "a t3.micro has no EFA"));
        assert_eq!(check(&[], "", "efa-attached").expect("a check").state, State::Note);
    }

    #[test]
    fn each_rank_of_a_host_needs_a_queue_pair_of_the_device() {
        let root = root(&[]);
        let with = |queue_pairs, local_ranks| {
            let system = System { queue_pairs, local_ranks, ..system(root.path(), "") };
            system.machine().into_iter().find(|check| check.name == "efa-queue-pairs")
        };
        assert_eq!(with(None, 300), None);
        assert_eq!(with(Some(256), 256).expect("a check").state, State::Ok);
        let short = with(Some(256), 257).expect("a check");
        assert_eq!(
            (short.state, short.text.what.as_str()),
            (State::Warning, "256 on the device, 257 ranks on this host")
        );
        assert!(short.text.remedy.contains("efa run -n 256"));
    }

    #[test]
    fn a_setting_that_keeps_ranks_from_each_others_memory_is_seen() {
        let scope = "proc/sys/kernel/yama/ptrace_scope";
        for (value, state) in [("0\n", State::Ok), ("1\n", State::Warning), ("3\n", State::Warning)] {
            assert_eq!(check(&[(scope, value)], "", "cross-memory").expect("a check").state, state);
        }
        assert_eq!(check(&[], "", "cross-memory").expect("a check").state, State::Ok);
    }

    #[test]
    fn a_second_libfabric_in_the_process_is_named() {
        let line = "7f00-7f01 r-xp 0 08:01 1 /opt/amazon/efa/lib64/libfabric.so.1.28.0\n";
        let maps = [("proc/self/maps", line)];
        let one = check(&maps, "1.28, system", "libfabric-copies").expect("a check");
        assert_eq!(one.state, State::Ok);
        let two = check(&maps, "1.22, built-in (efa)", "libfabric-copies").expect("a check");
        assert_eq!(two.state, State::Warning);
        assert!(
            two.text.what.contains("/opt/amazon/efa/lib64/libfabric.so.1.28.0, and the one built in"),
            "{}",
            two.text.what
        );
    }

    #[test]
    fn the_installer_and_gpus_are_told() {
        let packages =
            [("opt/amazon/efa_installed_packages", "# EFA installer version: 1.43.1\n# Packages\n")];
        assert_eq!(check(&packages, "", "efa-installer").expect("a check").text.what, "1.43.1");
        let device = "sys/bus/pci/devices/0000:00:1e.0";
        let (vendor, id) = (format!("{device}/vendor"), format!("{device}/device"));
        let old = [
            ("opt/amazon/efa_installed_packages", "# EFA installer version: 1.18.0\n"),
            (vendor.as_str(), "0x1d0f\n"),
            (id.as_str(), "0xefa2\n"),
        ];
        let old = check(&old, "", "efa-installer").expect("a check");
        assert_eq!(old.state, State::Note);
        assert!(old.text.what.starts_with("1.18.0; 1.22.1 is known"), "{}", old.text.what);
        assert_eq!(check(&[], "", "gpu-memory"), None);
        let gpu = [("sys/module/nvidia/version", "570"), ("sys/module/efa_nv_peermem/refcnt", "0")];
        assert_eq!(check(&gpu, "", "gpu-memory").expect("a check").text.what, "efa_nv_peermem is loaded");
    }
}
