//! Where facts come from: files, the host itself off EC2, and on EC2 the instance's metadata.
//!
//! A job takes the facts of each member from [`of_this_machine`] and the rules of their groups from [`rules_for`];
//! both know which source fits where the process runs.

pub mod file;
pub mod host;
pub mod metadata;

use std::net::IpAddr;
use std::path::Path;

use self::metadata::Metadata;
use super::facts::{Facts, Site};
use super::groups::SecurityGroups;
use crate::error::Result;

/// The facts of the member that this process is, from wherever this machine has them: on EC2, and wherever
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT` names a metadata service, from there and nowhere else; off EC2 from the host
/// itself. `address` is the one that the job reaches the process at; `None` stands for loopback, the choice of a job
/// on one machine.
///
/// # Errors
/// As those of [`Metadata`] and of [`host::facts`].
pub fn of_this_machine(rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    if metadata::is_named() || host::on_ec2() {
        return Metadata::from_env()?.facts(rank);
    }
    host::facts(rank, address)
}

/// The rules of the security groups of these members: from the file, if one is given; none off EC2, where there are
/// no groups; else unknown, which leads to a refusal.
///
/// # Errors
/// As those of [`file::read_security_groups`].
pub fn rules_for(members: &[Facts], file: Option<&Path>) -> Result<SecurityGroups> {
    match file {
        Some(path) => file::read_security_groups(path),
        None if members.iter().all(|facts| facts.site == Site::Host) => Ok(SecurityGroups::none()),
        None => Ok(SecurityGroups::unknown()),
    }
}
