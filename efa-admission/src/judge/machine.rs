//! What EFA needs of each machine: an interface, a device, and memory that may be locked.

use super::{Finding, FindingCode, Job, Member, error, in_order};
use crate::facts::{HostFacts, Site};
use crate::launch;
use crate::names::{has_or_have, shortened};

/// libfabric's efa provider locks about 72 MiB for receiving and as much for sending when an endpoint opens, before
/// any memory of the program's own.
const LOCKED_PER_ENDPOINT: u64 = 160 << 20;

pub(super) fn judge(job: &Job<'_>) -> Vec<Finding> {
    if !job.policy.efa() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    // Off EC2 an EFA can only be an emulated one, which has a device but no interface.
    if job.site != Site::Host {
        findings.extend(without_efa_interface(job));
    }
    if job.site != Site::File || job.members.iter().any(|member| host(member).is_some()) {
        findings.extend(without_device(job));
        findings.extend(memlock(job));
    }
    findings
}

fn without_efa_interface(job: &Job<'_>) -> Option<Finding> {
    let lacking: Vec<&Member<'_>> =
        job.members.iter().filter(|member| member.interfaces.is_empty()).collect();
    let names: Vec<_> = lacking.iter().map(|member| member.name()).collect();
    if names.is_empty() {
        return None;
    }
    let message = format!("{} {} no EFA interface", shortened(&names), has_or_have(&names));
    let why = "efa was asked for, and nothing else takes its place unasked".into();
    let facts: Vec<_> = lacking.iter().map(|member| member.facts).collect();
    // With no EFA to go by, the new ones come beside the job's first interface.
    let first = || {
        job.members
            .iter()
            .find_map(|it| in_order(it.facts.member.interfaces.iter().collect()).first().copied())
    };
    let model = job.home().map(|home| home.model.1).or_else(first);
    Some(error(FindingCode::NoEfaInterface, names, [message, why, launch::attach_efa(&facts, model)]))
}

fn without_device(job: &Job<'_>) -> Option<Finding> {
    let names = job.names(|member| host(member).is_some_and(|host| host.efa_devices == 0));
    if names.is_empty() {
        return None;
    }
    let others = match providers_of_all(job) {
        none if none.is_empty() => String::new(),
        others => format!(", only {}", others.join(", ")),
    };
    let message = format!("{} {} no EFA device in sight{others}", shortened(&names), has_or_have(&names));
    let why =
        "efa was asked for, and it needs the driver loaded and the device visible, in containers too".into();
    let fix = "sudo modprobe efa  # in a container: --device=/dev/infiniband/uverbs0".into();
    Some(error(FindingCode::NoEfaDevice, names, [message, why, fix]))
}

/// Returns the providers that every member has.
fn providers_of_all<'a>(job: &Job<'a>) -> Vec<&'a str> {
    let mut offered = job.members.iter().map(|member| host(member).map_or(&[][..], |host| &host.providers));
    let first = offered.next().unwrap_or_default();
    let rest: Vec<&[String]> = offered.collect();
    first.iter().filter(|name| rest.iter().all(|others| others.contains(name))).map(String::as_str).collect()
}

fn memlock(job: &Job<'_>) -> Option<Finding> {
    let low = |member: &Member<'_>| {
        host(member).and_then(|host| host.memlock_bytes).filter(|bytes| *bytes < LOCKED_PER_ENDPOINT)
    };
    let names = job.names(|member| low(member).is_some());
    let least = job.members.iter().filter_map(low).min()?;
    let message = format!("{} may lock no more than {} KiB of memory", shortened(&names), least / 1024);
    let why = format!(
        "EFA devices work on locked memory, and opening an endpoint takes about {} MiB of it",
        LOCKED_PER_ENDPOINT >> 20
    );
    let fix = "ulimit -l unlimited  # in the shell that starts the job; for all log-ins:\n\
               echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/99-efa.conf  # in a container: --ulimit memlock=-1";
    Some(error(FindingCode::MemlockLimit, names, [message, why, fix.into()]))
}

fn host<'a>(member: &Member<'a>) -> Option<&'a HostFacts> {
    member.facts.host.as_ref()
}
