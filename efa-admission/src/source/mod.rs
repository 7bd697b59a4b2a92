//! Where facts come from: files, the host itself off EC2, and on EC2 the instance's metadata.
//!
//! A job takes the facts of each member from [`of_this_machine`] and the rules of their groups from [`look_up`];
//! both know which source fits where the process runs.

#[cfg(feature = "aws")]
pub mod api;
pub mod file;
pub mod host;
mod listing;
mod live;
pub mod metadata;
mod plan;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use self::file::Described;
use self::metadata::Metadata;
use super::facts::{Facts, Site};
#[cfg(not(feature = "aws"))]
use super::failure::ApiFailure;
use super::groups::SecurityGroups;
use super::lookup::Lookup;
use efa_error::{Result, input};

/// Returns the facts of the member that this process is, from wherever this machine has them: on EC2, and wherever
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT` names a metadata service, from there and nowhere else; off EC2 from the host
/// itself. Where `EFA_MEMBERS` names a members file, the facts come from its entry for this machine instead, found by
/// instance id, host name or address. `address` is the one that the job reaches the process at; `None` stands for loopback, the choice of a job
/// on one machine.
///
/// # Errors
/// As those of [`Metadata`] and of [`host::facts`].
pub fn of_this_machine(rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    if let Some(path) = input::variable(live::VARIABLE) {
        return live::facts(Path::new(&path), rank, address);
    }
    if metadata::is_named() || host::on_ec2() {
        let facts = Metadata::from_env()?.facts(rank)?;
        return Ok(Facts { bound: address, ..facts });
    }
    host::facts(rank, address)
}

/// How long [`look_up`] takes at most, in a build that asks the EC2 API.
pub const LOOK_UP_LIMIT: Duration = Duration::from_secs(30);

/// Returns what the facts of these members lack. The rules of their security groups come from the file, if one is
/// given, and on EC2 else from its API; off EC2 there are none. What the API doesn't tell is unknown: for rules that
/// leads to a refusal. One member of a job does this for all of them, within [`LOOK_UP_LIMIT`].
///
/// # Errors
/// As those of [`file::read_security_groups`].
pub fn look_up(members: &[Facts], file: Option<&Path>) -> Result<Lookup> {
    let rules = file.map(file::read_security_groups).transpose()?;
    let all_at = |site| members.iter().all(|facts| facts.site == site);
    Ok(match rules {
        rules if all_at(Site::Ec2) && !members.is_empty() => from_api(members, rules),
        Some(rules) => Lookup::of(rules),
        None if all_at(Site::Host) => Lookup::of(SecurityGroups::none()),
        None => Lookup::of(SecurityGroups::unknown()),
    })
}

/// Returns what a job lacks that a file describes: the rules of its groups, from a file of rules, and else from the
/// description itself, as a Terraform plan has them.
///
/// # Errors
/// As those of [`file::read_security_groups`].
pub fn look_up_described(described: &Described, file: Option<&Path>) -> Result<Lookup> {
    let given = file.map(file::read_security_groups).transpose()?;
    if given.is_none() && described.rules.is_empty() {
        return Ok(Lookup::of(SecurityGroups::unknown()));
    }
    let mut groups = given.as_ref().and_then(SecurityGroups::groups).unwrap_or_default().to_vec();
    let there: BTreeSet<String> = groups.iter().map(|group| group.group_id.clone()).collect();
    groups.extend(described.rules.iter().filter(|group| !there.contains(&group.group_id)).cloned());
    Ok(Lookup::of(SecurityGroups::known(groups)))
}

#[cfg(feature = "aws")]
fn from_api(members: &[Facts], rules: Option<SecurityGroups>) -> Lookup {
    api::Api::default().look_up(members, rules)
}

#[cfg(not(feature = "aws"))]
fn from_api(_: &[Facts], rules: Option<SecurityGroups>) -> Lookup {
    Lookup::of(rules.unwrap_or_else(|| SecurityGroups::unknown_because(ApiFailure::NotBuiltIn)))
}
