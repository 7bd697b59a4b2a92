//! What a host must have for EFA and shared memory: the state of the system in, checks out.

use std::fs;
use std::path::{Path, PathBuf};

use efa_core::Explanation;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// What libfabric's efa provider locks when it opens an endpoint, rounded up.
const LOCKED_PER_ENDPOINT: u64 = 160 << 20;
/// What an endpoint of the shm provider takes in /dev/shm.
const SHARED_PER_RANK: u64 = 16 << 20;
const AMAZON_VENDOR: &str = "0x1d0f";
/// PCI device numbers of EFAs of all generations begin so.
const EFA_DEVICES: &str = "0xefa";

/// The oldest driver that knows a device (release notes of the driver, amzn/amzn-drivers, until r2.12.1 of 2024).
const DRIVERS: [(&str, [u32; 3]); 3] = [("0xefa1", [1, 9, 0]), ("0xefa2", [2, 1, 0]), ("0xefa3", [2, 12, 0])];
/// The oldest driver with RDMA write (the same notes).
const RDMA_WRITE: [u32; 3] = [2, 4, 0];
/// The oldest libfabric that EFA works with (AWS's guide to EFA, 2026).
const OLDEST_LIBFABRIC: [u32; 3] = [1, 7, 0];
/// How AWS's guide installs driver and libfabric.
const INSTALL: &str = "curl -O https://efa-installer.amazonaws.com/aws-efa-installer-latest.tar.gz && tar -xf \
                       aws-efa-installer-latest.tar.gz && cd aws-efa-installer && sudo ./efa_installer.sh -y";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) state: State,
    /// What was found, and the command that mends it; the latter is empty where nothing should be mended. In JSON they
    /// are `detail` and `fix`, next to the name.
    #[serde(flatten, with = "detail")]
    pub(super) text: Explanation,
}

/// Writes and reads the sentences of a check by the names that `efa doctor --json` has for them.
mod detail {
    use std::borrow::Cow;

    use efa_core::Explanation;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Detail<'a> {
        detail: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        fix: Cow<'a, str>,
    }

    pub(super) fn serialize<S: Serializer>(text: &Explanation, serializer: S) -> Result<S::Ok, S::Error> {
        let (detail, fix) = (text.what.as_str().into(), text.remedy.as_str().into());
        Detail { detail, fix }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Explanation, D::Error> {
        let Detail { detail, fix } = Detail::deserialize(deserializer)?;
        Ok(Explanation { what: detail.into_owned(), why: String::new(), remedy: fix.into_owned() })
    }
}

/// How a check turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// In the way of something that this host could do.
    Warning,
}

/// What the checks look at.
#[derive(Debug)]
pub(super) struct System<'a> {
    /// The root of the file system.
    pub(super) root: &'a Path,
    /// How many bytes may be locked; `None` where that is not known.
    pub(super) memlock: Option<u64>,
    /// How many EFA devices the system has, by its driver.
    pub(super) driven: usize,
    /// How many libfabric sees.
    pub(super) offered: usize,
    /// How many queue pairs the first of those has, which is the one that ranks open; `None` where there is none.
    pub(super) queue_pairs: Option<usize>,
    pub(super) providers: Vec<String>,
    /// Such as `1.22, built-in (path): reason`, or why none can be used.
    pub(super) libfabric: Result<String, String>,
    /// Size and free space of /dev/shm, in bytes.
    pub(super) shared: Option<(u64, u64)>,
    pub(super) local_ranks: usize,
    /// What the variable `container` or Kubernetes' say.
    pub(super) container: Option<String>,
    /// Whether Slurm has started this process.
    pub(super) slurm: bool,
    /// Whether the device is an emulated one, and the plan of its faults.
    pub(super) emulated: Option<String>,
}

impl Check {
    /// The same check with the command that mends what was found.
    fn mended_by(mut self, fix: String) -> Self {
        self.text.remedy = fix;
        self
    }
}

impl System<'_> {
    /// Returns all checks, in a fixed order.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![
            self.libfabric(),
            self.providers(),
            self.device(),
            self.driver(),
            self.nodes(),
            self.memlock(),
            self.huge_pages(),
            self.shared_memory(),
            self.container(),
        ];
        checks.extend(self.machine());
        checks.extend(self.emulated.as_ref().map(|plan| {
            let plan =
                if plan.is_empty() { "without faults".into() } else { format!("with the faults '{plan}'") };
            note("emulated-efa", format!("the EFA is an emulated one, {plan}"))
        }));
        checks
    }

    fn libfabric(&self) -> Check {
        const NAME: &str = "libfabric";
        match &self.libfabric {
            Ok(library) if parsed(library).is_some_and(|here| here < OLDEST_LIBFABRIC) => {
                warning(NAME, format!("{library}; EFA takes 1.7 or later"), INSTALL.into())
            }
            Ok(library) => ok(NAME, library.clone()),
            Err(why) => warning(NAME, why.clone(), "env | grep EFA_LIBFABRIC; efa info".into()),
        }
    }

    fn providers(&self) -> Check {
        let names = if self.providers.is_empty() { "none".into() } else { self.providers.join(", ") };
        if self.driven > self.offered {
            let (driven, offered) = (self.driven, self.offered);
            let detail = format!("{names}; the system has {driven} EFA, and libfabric offers {offered}");
            return match self.uverbs().is_empty() {
                true => warning("providers", detail, self.show_devices()),
                false => warning(
                    "providers",
                    detail,
                    "ls /opt/amazon/efa/lib*/libfabric.so.1; efa info  # EFA_LIBFABRIC names a libfabric with the efa provider".into(),
                ),
            };
        }
        ok("providers", names)
    }

    fn device(&self) -> Check {
        match (self.on_the_bus(), self.driven) {
            (0, 0) => note("efa-device", "no EFA on the PCI bus".into()),
            (bus, driven) => ok("efa-device", format!("{} on the PCI bus, {driven} driven", bus.max(driven))),
        }
    }

    fn driver(&self) -> Check {
        let module = self.root.join("sys/module/efa");
        let version = fs::read_to_string(module.join("version")).unwrap_or_default();
        match (module.exists(), self.on_the_bus()) {
            (true, _) if version.trim().is_empty() => ok("efa-driver", "loaded".into()),
            (true, _) => self.driver_version(version.trim()),
            (false, 0) => note("efa-driver", "not loaded, and nothing to drive".into()),
            (false, _) => warning("efa-driver", "not loaded".into(), "sudo modprobe efa".into()),
        }
    }

    /// Checks the version against what the devices need. A driver of the kernel itself has no version.
    fn driver_version(&self, version: &str) -> Check {
        const NAME: &str = "efa-driver";
        let device = self.devices_on_the_bus().into_iter().max().unwrap_or_default();
        let needed = DRIVERS.iter().find(|(id, _)| *id == device).map(|(_, needed)| needed);
        let detail = format!("loaded, version {version}");
        match (parsed(version), needed) {
            (Some(here), Some(needed)) if here < *needed => {
                let [major, minor, patch] = needed;
                let detail = format!("{detail}; the device {device} takes {major}.{minor}.{patch} or later");
                warning(NAME, detail, INSTALL.into())
            }
            (Some(here), _) if here < RDMA_WRITE && !device.is_empty() => {
                let [major, minor, patch] = RDMA_WRITE;
                note(NAME, format!("{detail}; writes to remote memory take {major}.{minor}.{patch} or later"))
            }
            _ => ok(NAME, detail),
        }
    }

    fn nodes(&self) -> Check {
        let nodes = self.uverbs();
        let names: Vec<String> = nodes.iter().map(|node| node.display().to_string()).collect();
        match (nodes.len(), self.driven) {
            (0, 0) => note("device-nodes", "no /dev/infiniband/uverbs*".into()),
            (0, driven) => {
                let place = if self.container.is_some() { "this container" } else { "/dev/infiniband" };
                let detail = format!("the host has {driven} EFA, and {place} shows none");
                warning("device-nodes", detail, self.show_devices())
            }
            (shown, driven) if shown < driven => {
                let detail = format!("the host has {driven} EFA, and only {} is here", names.join(", "));
                warning("device-nodes", detail, self.show_devices())
            }
            _ => ok("device-nodes", names.join(", ")),
        }
    }

    fn memlock(&self) -> Check {
        match self.memlock {
            None => note("memlock-limit", "not known".into()),
            Some(u64::MAX) => ok("memlock-limit", "unlimited".into()),
            Some(bytes) if bytes >= LOCKED_PER_ENDPOINT => ok("memlock-limit", Bytes(bytes).to_string()),
            Some(bytes) => {
                let detail =
                    format!("{}; an EFA endpoint locks {}", Bytes(bytes), Bytes(LOCKED_PER_ENDPOINT));
                match self.driven.max(self.on_the_bus()) {
                    0 => note("memlock-limit", detail),
                    _ => warning("memlock-limit", detail, self.lift_memlock().into()),
                }
            }
        }
    }

    /// Returns the command that lifts the limit, by what has started the process: each has its own place for it.
    fn lift_memlock(&self) -> &'static str {
        match (self.container.as_deref(), self.slurm) {
            (Some("kubernetes"), _) => {
                "kubectl debug node/NODE_NAME -it --image=busybox -- cat /proc/1/limits  # set LimitMEMLOCK=infinity for \
                 containerd on the node: pods inherit it"
            }
            (Some(_), _) => "docker run --ulimit memlock=-1 ...",
            (None, true) => {
                "sudo systemctl edit slurmd  # [Service] LimitMEMLOCK=infinity; and in slurm.conf \
                 PropagateResourceLimitsExcept=MEMLOCK"
            }
            (None, false) => "ulimit -l unlimited  # of a systemd service: LimitMEMLOCK=infinity",
        }
    }

    fn huge_pages(&self) -> Check {
        let memory = fs::read_to_string(self.root.join("proc/meminfo")).unwrap_or_default();
        let field = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line?.split_whitespace().next()?.parse::<u64>().ok()
        };
        let (total, free, kib) = (field("HugePages_Total"), field("HugePages_Free"), field("Hugepagesize"));
        match (total, free, kib) {
            (Some(0) | None, _, _) => {
                let detail = "none reserved: buffers are of ordinary pages".into();
                let fix = "sudo sysctl vm.nr_hugepages=1024  # if buffers shall be of huge pages";
                note("huge-pages", detail).mended_by(fix.into())
            }
            (Some(total), free, kib) => {
                let (free, size) = (free.unwrap_or(0), Bytes(kib.unwrap_or(2048) << 10));
                let detail = format!("{total} of {size}, {free} free");
                if !self.may_use_no_huge_pages() {
                    return ok("huge-pages", detail);
                }
                let detail = format!("{detail} on the host, of which this container may use none");
                let fix = match self.container.as_deref() {
                    Some("kubernetes") => {
                        "kubectl edit pod POD_NAME  # hugepages-2Mi: 5120Mi, memory: 8Gi among requests and limits"
                    }
                    _ => "FI_EFA_USE_HUGE_PAGE=0 ...  # or lift the limit hugetlb.2MB.max of its cgroup",
                };
                // The kernel gives the page and kills the process that touches it.
                match self.driven.max(self.on_the_bus()) {
                    0 => note("huge-pages", detail).mended_by(fix.into()),
                    _ => warning("huge-pages", detail, fix.into()),
                }
            }
        }
    }

    /// Returns `true` if the control group allows no huge pages of 2 MiB, as in a pod that does not ask for them.
    fn may_use_no_huge_pages(&self) -> bool {
        let files = ["sys/fs/cgroup/hugetlb.2MB.max", "sys/fs/cgroup/hugetlb/hugetlb.2MB.limit_in_bytes"];
        let read = |file| fs::read_to_string(self.root.join(file)).ok();
        self.container.is_some() && files.into_iter().find_map(read).is_some_and(|limit| limit.trim() == "0")
    }

    fn shared_memory(&self) -> Check {
        let Some((size, free)) = self.shared else {
            return warning(
                "shared-memory",
                "there is no /dev/shm".into(),
                "sudo mount -t tmpfs none /dev/shm".into(),
            );
        };
        let wanted = SHARED_PER_RANK * self.local_ranks as u64;
        let detail = format!("/dev/shm has {} free of {}", Bytes(free), Bytes(size));
        if free >= wanted {
            return ok("shared-memory", detail);
        }
        let detail = format!("{detail}; {} ranks on shm take {}", self.local_ranks, Bytes(wanted));
        let fix = match self.container {
            Some(_) => "docker run --shm-size=1g ...".into(),
            None => "sudo mount -o remount,size=1g /dev/shm".into(),
        };
        warning("shared-memory", detail, fix)
    }

    fn container(&self) -> Check {
        match &self.container {
            Some(kind) => note("container", kind.clone()),
            None => ok("container", "none".into()),
        }
    }

    /// Returns how many EFAs are plugged in, driven or not. Containers see the host's bus.
    pub(super) fn on_the_bus(&self) -> usize {
        self.devices_on_the_bus().len()
    }

    /// Returns the PCI device numbers of the EFAs that are plugged in, such as `0xefa2`.
    pub(super) fn devices_on_the_bus(&self) -> Vec<String> {
        let Ok(devices) = fs::read_dir(self.root.join("sys/bus/pci/devices")) else { return Vec::new() };
        let read = |device: &Path, file: &str| {
            fs::read_to_string(device.join(file)).unwrap_or_default().trim().to_owned()
        };
        devices
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| read(path, "vendor").starts_with(AMAZON_VENDOR))
            .map(|path| read(&path, "device"))
            .filter(|device| device.starts_with(EFA_DEVICES))
            .collect()
    }

    /// Returns the device nodes that verbs go through.
    fn uverbs(&self) -> Vec<PathBuf> {
        let Ok(nodes) = fs::read_dir(self.root.join("dev/infiniband")) else { return Vec::new() };
        let mut found: Vec<PathBuf> = nodes
            .flatten()
            .filter(|node| node.file_name().to_string_lossy().starts_with("uverbs"))
            .map(|node| Path::new("/dev/infiniband").join(node.file_name()))
            .collect();
        found.sort();
        found
    }

    /// Returns the command that makes the device nodes show.
    fn show_devices(&self) -> String {
        match &self.container {
            Some(kind) if kind == "kubernetes" => {
                "kubectl apply -f efa-k8s-device-plugin.yml  # and ask for vpc.amazonaws.com/efa in the pod's limits".into()
            }
            Some(_) => "docker run --device=/dev/infiniband/uverbs0 --ulimit memlock=-1 ...".into(),
            None => "sudo modprobe ib_uverbs".into(),
        }
    }
}

/// Returns the version at the beginning of the text: `2.13.0g`, `1.22, built-in (efa)`.
pub(super) fn parsed(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split(|it: char| !it.is_ascii_digit() && it != '.').next()?.split('.');
    let first = numbers.next()?.parse().ok()?;
    let mut next = || numbers.next().and_then(|it| it.parse().ok()).unwrap_or(0);
    Some([first, next(), next()])
}

/// Finds out whether this is a container, and of which kind.
pub(super) fn container(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if variable("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".into());
    }
    if root.join(".dockerenv").exists() {
        return Some("docker".into());
    }
    if root.join("run/.containerenv").exists() {
        return Some("podman".into());
    }
    // podman, systemd-nspawn and lxc set it.
    variable("container").filter(|kind| !kind.is_empty())
}

pub(super) fn ok(name: &str, detail: String) -> Check {
    let text = Explanation { what: detail, why: String::new(), remedy: String::new() };
    Check { name: name.into(), state: State::Ok, text }
}

pub(super) fn note(name: &str, detail: String) -> Check {
    Check { state: State::Note, ..ok(name, detail) }
}

pub(super) fn warning(name: &str, detail: String, fix: String) -> Check {
    Check { state: State::Warning, ..ok(name, detail) }.mended_by(fix)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a folder that stands in for `/`, with the given files in it.
    pub(in crate::doctor::live) fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a scratch folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a path below the root")).expect("a writable folder");
            fs::write(path, text).expect("a writable folder");
        }
        root
    }

    fn system(root: &Path) -> System<'_> {
        System {
            root,
            memlock: Some(8 << 20),
            driven: 0,
            offered: 0,
            queue_pairs: None,
            providers: vec!["shm".into(), "tcp".into()],
            libfabric: Ok("1.22, built-in (efa): this host has no EFA".into()),
            shared: Some((1 << 30, 1 << 30)),
            local_ranks: 4,
            container: None,
            slurm: false,
            emulated: None,
        }
    }

    fn check(system: &System<'_>, name: &str) -> Check {
        system.checks().into_iter().find(|check| check.name == name).expect("there is such a check")
    }

    const DEVICE: [(&str, &str); 2] = [
        ("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x1d0f\n"),
        ("sys/bus/pci/devices/0000:00:1e.0/device", "0xefa1\n"),
    ];

    #[test]
    fn a_check_is_written_and_read_as_doctor_prints_it() {
        let mended = warning("memlock-limit", "8 MiB".into(), "ulimit -l unlimited".into());
        let json =
            r#"{"name":"memlock-limit","state":"warning","detail":"8 MiB","fix":"ulimit -l unlimited"}"#;
        assert_eq!(serde_json::to_string(&mended).unwrap(), json);
        assert_eq!(serde_json::from_str::<Check>(json).unwrap(), mended);
        let json = r#"{"name":"libfabric","state":"ok","detail":"1.22"}"#;
        assert_eq!(serde_json::to_string(&ok("libfabric", "1.22".into())).unwrap(), json);
        assert_eq!(serde_json::from_str::<Check>(json).unwrap(), ok("libfabric", "1.22".into()));
        assert!(serde_json::from_str::<Check>(r#"{"name":"libfabric","state":"ok"}"#).is_err());
    }

    #[test]
    fn a_laptop_has_notes_and_no_warnings() {
        let root = root(&[("proc/meminfo", "MemTotal: 1 kB\nHugePages_Total:       0\n")]);
        let checks = system(root.path()).checks();
        assert!(checks.iter().all(|check| check.state != State::Warning), "{checks:?}");
    }

    #[test]
    fn each_launcher_has_its_own_way_to_lift_the_limit() {
        let root = root(&DEVICE);
        let fix = |container: Option<&str>, slurm| {
            let container = container.map(str::to_owned);
            let system = System { driven: 1, container, slurm, ..system(root.path()) };
            check(&system, "memlock-limit").text.remedy
        };
        assert!(fix(None, false).contains("systemd"));
        assert!(fix(None, true).contains("PropagateResourceLimitsExcept=MEMLOCK"));
        assert!(fix(Some("docker"), true).contains("--ulimit memlock=-1"));
        assert!(fix(Some("kubernetes"), false).contains("containerd"));
    }

    #[test]
    fn an_efa_instance_in_order_has_no_warnings() {
        let files = [
            DEVICE[0],
            DEVICE[1],
            ("sys/module/efa/version", "2.13.0g\n"),
            ("dev/infiniband/uverbs0", ""),
            (
                "proc/meminfo",
                "HugePages_Total:    5128\nHugePages_Free:     5000\nHugepagesize:       2048 kB\n",
            ),
        ];
        let root = root(&files);
        let system = System { memlock: Some(u64::MAX), driven: 1, offered: 1, ..system(root.path()) };
        let quiet = |check: &Check| check.state == State::Ok || check.name.starts_with("efa-");
        assert!(system.checks().iter().all(quiet), "{:?}", system.checks());
        assert_eq!(check(&system, "efa-driver").text.what, "loaded, version 2.13.0g");
        assert_eq!(check(&system, "huge-pages").text.what, "5128 of 2 MiB, 5000 free");
    }

    #[test]
    fn driver_and_libfabric_are_held_against_what_the_devices_need() {
        let with = |device: &'static str, version: &'static str| {
            let root = root(&[
                DEVICE[0],
                ("sys/bus/pci/devices/0000:00:1e.0/device", device),
                ("sys/module/efa/version", version),
            ]);
            check(&System { driven: 1, ..system(root.path()) }, "efa-driver")
        };
        let old = with("0xefa2\n", "1.16.0g\n");
        assert_eq!(
            (old.state, old.text.what.as_str()),
            (State::Warning, "loaded, version 1.16.0g; the device 0xefa2 takes 2.1.0 or later")
        );
        assert!(old.text.remedy.contains("efa_installer.sh"));
        assert_eq!(with("0xefa3\n", "2.10.0g\n").state, State::Warning);
        assert_eq!(with("0xefa3\n", "2.12.0g\n").state, State::Ok);
        assert_eq!(with("0xefa2\n", "2.1.1g\n").state, State::Note);
        // A device that came later, and a driver that does not tell.
        assert_eq!(with("0xefa9\n", "3.3.1\n").state, State::Ok);
        assert_eq!(with("0xefa2\n", "\n").state, State::Ok);
        let root = root(&[]);
        let libfabric = |version: &str| {
            check(&System { libfabric: Ok(version.into()), ..system(root.path()) }, "libfabric").state
        };
        assert_eq!(
            (libfabric("1.6, system"), libfabric("1.22, built-in (efa): this host has no EFA")),
            (State::Warning, State::Ok)
        );
    }

    #[test]
    fn a_pod_that_does_not_ask_for_huge_pages_may_use_none() {
        let memory = (
            "proc/meminfo",
            "HugePages_Total:    5128\nHugePages_Free:     5000\nHugepagesize:       2048 kB\n",
        );
        let with = |limit: &'static str, container: Option<&str>, driven| {
            let root = root(&[memory, ("sys/fs/cgroup/hugetlb.2MB.max", limit)]);
            let container = container.map(str::to_owned);
            check(&System { container, driven, ..system(root.path()) }, "huge-pages")
        };
        let pod = with("0\n", Some("kubernetes"), 32);
        assert_eq!(
            (pod.state, pod.text.what.as_str()),
            (State::Warning, "5128 of 2 MiB, 5000 free on the host, of which this container may use none")
        );
        assert!(pod.text.remedy.contains("hugepages-2Mi"));
        assert_eq!(with("0\n", Some("docker"), 0).state, State::Note);
        assert_eq!(with("max\n", Some("kubernetes"), 32).state, State::Ok);
        assert_eq!(with("0\n", None, 32).state, State::Ok);
    }

    #[test]
    fn a_device_that_the_container_does_not_show_is_told_from_one_that_is_not_there() {
        let root = root(&[DEVICE[0], DEVICE[1], ("sys/module/efa/version", "2.13.0g\n")]);
        let inside = System { driven: 1, container: Some("docker".into()), ..system(root.path()) };
        let nodes = check(&inside, "device-nodes");
        assert_eq!(nodes.state, State::Warning);
        assert_eq!(nodes.text.what, "the host has 1 EFA, and this container shows none");
        assert!(nodes.text.remedy.contains("--device=/dev/infiniband/uverbs0"));
        assert_eq!(check(&inside, "memlock-limit").state, State::Warning);
        let pod = System { container: Some("kubernetes".into()), ..inside };
        assert!(check(&pod, "device-nodes").text.remedy.contains("device-plugin"));
    }

    #[test]
    fn a_missing_driver_and_a_libfabric_without_efa_are_two_things() {
        let root = root(&[DEVICE[0], DEVICE[1], ("dev/infiniband/uverbs0", "")]);
        let driver = check(&system(root.path()), "efa-driver");
        assert_eq!((driver.state, &*driver.text.remedy), (State::Warning, "sudo modprobe efa"));
        let without = System { driven: 1, offered: 0, ..system(root.path()) };
        let providers = check(&without, "providers");
        assert_eq!(providers.state, State::Warning);
        assert!(providers.text.remedy.contains("EFA_LIBFABRIC"), "{}", providers.text.what);
    }

    #[test]
    fn shared_memory_must_hold_the_ranks_of_the_host() {
        let root = root(&[]);
        let free = |free: u64, local_ranks| System {
            shared: Some((64 << 20, free)),
            local_ranks,
            ..system(root.path())
        };
        assert_eq!(check(&free(64 << 20, 4), "shared-memory").state, State::Ok);
        let short = check(&free(64 << 20, 5), "shared-memory");
        assert_eq!(short.state, State::Warning);
        assert!(short.text.what.contains("5 ranks on shm take 80 MiB"), "{}", short.text.what);
        let none = System { shared: None, ..system(root.path()) };
        assert_eq!(check(&none, "shared-memory").state, State::Warning);
    }

    #[test]
    fn containers_are_recognised_by_what_their_engines_leave() {
        let none = |_: &str| None;
        assert_eq!(container(root(&[]).path(), none), None);
        assert_eq!(container(root(&[(".dockerenv", "")]).path(), none).as_deref(), Some("docker"));
        assert_eq!(container(root(&[("run/.containerenv", "")]).path(), none).as_deref(), Some("podman"));
        let only = |name: &'static str| move |asked: &str| (asked == name).then(|| "lxc".to_owned());
        assert_eq!(container(root(&[]).path(), only("container")).as_deref(), Some("lxc"));
        let pod = container(root(&[(".dockerenv", "")]).path(), only("KUBERNETES_SERVICE_HOST"));
        assert_eq!(pod.as_deref(), Some("kubernetes"));
    }
}
