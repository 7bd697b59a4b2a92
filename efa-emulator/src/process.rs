//! The state of this process: puts together what its devices share, such as its place in the job, its registered regions,
//! the peers that it knows, the plan of faults and the log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::device::sysfs;
use crate::errno::{Errno, complain};
use crate::faults::{Event, Faults};
use crate::handles::Handles;
use crate::helper::{self, Helper};
use crate::job::Job;
use crate::log::Log;
use crate::peers::Peers;
use crate::regions::Regions;
use crate::settings::{Rdma, Settings};
use crate::wire::Address;
use crate::wire::process::ProcessFile;

/// The process as the job sees it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) job: Job,
    pub(crate) rank: u32,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    pub(crate) regions: Regions,
    pub(crate) peers: Peers,
    pub(crate) helper: Helper,
    pub(crate) devices: Vec<DeviceState>,
    /// What its devices can do to remote memory.
    pub(crate) rdma: Rdma,
    /// Queue pairs that a device has, those of all processes together.
    pub(crate) queue_pairs: u32,
    /// Processors of the machine: a process bound to one of them may well have it for itself.
    pub(crate) processors: usize,
    cross_memory: AtomicBool,
    pid: u32,
}

/// What one device remembers.
#[derive(Debug)]
pub(crate) struct DeviceState {
    /// Address handles.
    pub(crate) handles: Handles,
    /// The last queue pair number given.
    last_qpn: AtomicU32,
    gone: AtomicBool,
}

static CURRENT: Mutex<Option<Arc<Process>>> = Mutex::new(None);

impl Process {
    /// Returns this process's state, which the first call makes. Prints on stderr what is wrong with the environment.
    pub(crate) fn current() -> Result<Arc<Self>, Errno> {
        let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(process) = current.as_ref() {
            if process.pid == std::process::id() {
                return Ok(process.clone());
            }
            // A child by fork: the parent's state is the parent's, and its destructors must not run here.
            std::mem::forget(current.take());
        }
        let process = Arc::new(Self::new(&Settings::from_env()?)?);
        *current = Some(process.clone());
        Ok(process)
    }

    fn new(settings: &Settings) -> Result<Self, Errno> {
        let job = Job::join(settings)?;
        let rank = settings.rank.unwrap_or(u32::from(job.slot()));
        let path = job.process_path(job.slot(), job.generation());
        let made = ProcessFile::create(&path)
            .and_then(|made| sysfs::make(job.dir(), settings.devices).map(|()| made));
        let (file, handle) = made.inspect_err(|e| {
            no_memory(*e, &settings.base);
            job.leave();
        })?;
        let log = Log::open(settings.log.as_deref(), rank).inspect_err(|_| job.leave())?;
        let generation = job.generation();
        let file = Arc::new(file);
        let device = |index| DeviceState {
            handles: Handles::default(),
            // Numbers that differ from process to process show mix-ups that equal ones would hide.
            last_qpn: AtomicU32::new((generation >> 8).wrapping_add(index) & 0x3fff),
            gone: AtomicBool::new(false),
        };
        let devices = (0..settings.devices as u32).map(device).collect();
        let process = Self {
            rank,
            faults: Faults::new(settings.plan.clone(), rank),
            log,
            helper: Helper::new(file.clone()),
            regions: Regions::new(file, handle),
            peers: Peers::default(),
            devices,
            rdma: settings.rdma,
            queue_pairs: settings.queue_pairs,
            // SAFETY: takes no pointers.
            processors: usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1),
            cross_memory: AtomicBool::new(settings.cross_memory),
            pid: std::process::id(),
            job,
        };
        allow_access();
        process.log.line(
            "open",
            format_args!(
                "rank={rank} pid={} place={} devices={} seed-active={}",
                process.pid,
                process.job.slot(),
                settings.devices,
                process.faults.active()
            ),
        );
        if !settings.cross_memory {
            process.deny_cross_memory();
        }
        Ok(process)
    }

    /// Returns the address of one of our devices.
    pub(crate) fn address(&self, device: u8) -> Address {
        Address { slot: self.job.slot(), generation: self.job.generation(), device }
    }

    /// Returns the state of a device, or `None` if there is no such device.
    pub(crate) fn device(&self, device: u8) -> Option<&DeviceState> {
        self.devices.get(usize::from(device))
    }

    /// Returns `true` if one of our devices went away.
    pub(crate) fn is_gone(&self, device: u8) -> bool {
        self.device(device).is_none_or(|d| d.gone.load(Ordering::Relaxed))
    }

    /// Returns `true` if a device of any process of the job went away.
    pub(crate) fn is_gone_at(&self, address: Address) -> bool {
        let bit = 1u32.checked_shl(u32::from(address.device)).unwrap_or(0);
        self.job.table().entry(address.slot).is_none_or(|entry| entry.gone.load(Ordering::Relaxed) & bit != 0)
    }

    /// Returns the rank of another process, or `None` if it is gone.
    pub(crate) fn rank_of(&self, address: Address) -> Option<u32> {
        let entry = self.job.table().entry(address.slot)?;
        let rank = entry.rank.load(Ordering::Relaxed);
        (entry.generation.load(Ordering::Acquire) == address.generation).then_some(rank)
    }

    /// Lets happen what the plan has for the `n`th work request. May not return.
    pub(crate) fn befall(&self, n: u64) {
        for event in self.faults.events(n) {
            self.log.line("fault", format_args!("event={event:?} request={n}"));
            match event {
                // SAFETY: ends this very process, which is what the plan asks for.
                Event::Kill => unsafe { libc::kill(libc::getpid(), libc::SIGKILL) },
                Event::DeviceGone(index) => {
                    self.remove_device(index);
                    0
                }
            };
        }
    }

    /// Rings the doorbell of another process, or of this one.
    pub(crate) fn ring(&self, whose: Address) {
        if whose.slot == self.job.slot() {
            helper::ring(self.regions.file());
        } else if let Ok(peer) = self.peers.process(&self.job, whose) {
            helper::ring(&peer);
        }
    }

    /// Returns `true` if other processes' memory may be accessed by system call, as far as anyone knows.
    pub(crate) fn may_cross_memory(&self) -> bool {
        self.cross_memory.load(Ordering::Relaxed)
            && self.job.table().header().no_cross_memory.load(Ordering::Relaxed) == 0
    }

    /// Tells all processes of the job to use letters instead.
    pub(crate) fn deny_cross_memory(&self) {
        self.cross_memory.store(false, Ordering::Relaxed);
        self.job.table().header().no_cross_memory.store(1, Ordering::Relaxed);
    }

    fn remove_device(&self, index: u32) {
        if let Some(device) = self.devices.get(index as usize) {
            device.gone.store(true, Ordering::Relaxed);
        }
        if let Some(entry) = self.job.table().entry(self.job.slot()) {
            entry.gone.fetch_or(1u32.checked_shl(index).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn leave(&self) {
        self.log.line("close", format_args!("rank={}", self.rank));
        self.job.leave();
    }
}

impl DeviceState {
    /// Returns a number for a queue pair: 16 bits, the most recently given come back last.
    pub(crate) fn next_qpn(&self) -> u16 {
        loop {
            let qpn = (self.last_qpn.fetch_add(1, Ordering::Relaxed) + 1) as u16;
            if qpn > 1 {
                return qpn;
            }
        }
    }
}

/// Gives this process's place in the job back, if it has one: called when the program ends.
pub(crate) fn leave() {
    if let Ok(mut current) = CURRENT.try_lock()
        && let Some(process) = current.take()
    {
        if process.pid == std::process::id() {
            process.leave();
        }
        // Other threads may still be inside a call, so the memory stays.
        std::mem::forget(process);
    }
}

/// Allows access by all processes of this user, where the Yama security module allows it to ancestors only.
fn allow_access() {
    // SAFETY: takes no pointers; fails harmlessly where there is no Yama.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
}

fn no_memory(error: Errno, base: &Path) {
    let why = format!("The folder {} answered: {error}", base.display());
    complain(
        "No shared memory for the device",
        &why,
        "Make room there, or name another folder with EFA_EMULATOR_DIR",
    );
}
