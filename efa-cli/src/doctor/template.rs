//! `--for N`: a job of N instances that are all like one.

use efa_admission::Facts;
use efa_admission::source::file::Described;
use efa_error::Error;

use crate::failure::Failure;

/// More members than any job has.
const MOST_COPIES: usize = 1 << 20;

/// Returns so many members like the one, each with an instance and interfaces of its own. Addresses are left out, since
/// every instance gets others. Of a template whose instances may start in several places, each place is taken in turn.
pub(super) fn copies(described: &Described, count: usize) -> Result<Vec<Facts>, Failure> {
    let models = &described.members;
    if models.is_empty() || (models.len() > 1 && !described.is_template) {
        return Err(usage("the file describes", &format!("{} members, and a template is one", models.len())));
    }
    if !(1..=MOST_COPIES).contains(&count) {
        return Err(usage("a job has from 1 to", &format!("{MOST_COPIES} members")));
    }
    let copy = |rank: usize| {
        let mut facts = models[rank % models.len()].clone();
        let member = &mut facts.member;
        member.rank = rank;
        member.host = None;
        member.instance_id = format!("{}.{rank}", member.instance_id);
        for interface in &mut member.interfaces {
            interface.interface_id = interface.interface_id.as_ref().map(|id| format!("{id}.{rank}"));
            interface.mac = None;
            interface.ipv4.clear();
            interface.ipv6.clear();
        }
        facts
    };
    Ok((0..count).map(copy).collect())
}

fn usage(subject: &str, why: &str) -> Failure {
    let what = "cannot use --for";
    Failure::from(Error::setting(
        what,
        format!("{subject} {why}"),
        "write it like --members template.json --for 16",
    ))
}
