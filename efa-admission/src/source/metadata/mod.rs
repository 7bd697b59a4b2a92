//! The instance's metadata as the source of facts: what a member on EC2 can tell about itself.
//!
//! The metadata service (IMDSv2) answers over plain HTTP on a link-local address. It needs no rights and no AWS SDK,
//! so every build has it. What it does not tell is the kind of an interface, the strategy of a placement group and
//! the rules of security groups; those come from the EC2 API or from a file.

mod client;
mod interfaces;
mod shared;

use std::time::Duration;

use super::host;
use crate::facts::{Facts, MemberFacts, PlacementFacts, Site};
use crate::failure::MetadataFailure;
use client::Client;
use efa_error::input::variable;
use efa_error::{Error, Result};
use interfaces::{interfaces, number, tell_kinds};

/// Where the service answers, over IPv4 and over IPv6.
const IPV4_ENDPOINT: &str = "http://169.254.169.254";
const IPV6_ENDPOINT: &str = "http://[fd00:ec2::254]";

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Where to ask for metadata, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The service's address, such as `http://169.254.169.254`.
    pub endpoint: String,
    /// Whether it must not be asked at all.
    pub disabled: bool,
    /// How long one request may take. Default: 2 s; the service is on the same machine and answers within
    /// milliseconds, and when the hop limit is too low it never answers, which is believed after three requests.
    pub attempt: Duration,
    /// How long all requests together may take. Default: 15 s, since many ranks of one instance may ask at the same
    /// time and are then slowed down.
    pub deadline: Duration,
    /// Whether processes of one user on one host share what the first of them reads, for five seconds. Default: no;
    /// [`from_env`](Self::from_env) sets it, since the ranks of a host start together.
    pub shared: bool,
}

impl Metadata {
    /// Returns the service at this address.
    ///
    /// # Errors
    /// [`Error::Setting`] for anything but an `http` address.
    pub fn at(endpoint: &str) -> Result<Self> {
        let host = endpoint.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.starts_with('/') || !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::setting(
                format!("cannot ask the metadata service at '{endpoint}'"),
                format!("{ENDPOINT} is not an http address"),
                format!("set it like {ENDPOINT}={IPV4_ENDPOINT}, or unset it"),
            ));
        }
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            disabled: false,
            attempt: Duration::from_secs(2),
            deadline: Duration::from_secs(15),
            shared: false,
        })
    }

    /// Returns the service that the variables name which the AWS SDKs read as well: `AWS_EC2_METADATA_SERVICE_ENDPOINT`,
    /// else `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` (`IPv4` or `IPv6`), and `AWS_EC2_METADATA_DISABLED`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value that makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(variable)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let endpoint = match (variable(ENDPOINT), variable(MODE)) {
            (Some(endpoint), _) => endpoint,
            (None, None) => IPV4_ENDPOINT.to_owned(),
            (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv4") => IPV4_ENDPOINT.to_owned(),
            (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv6") => IPV6_ENDPOINT.to_owned(),
            (None, Some(mode)) => {
                return Err(Error::setting(
                    format!("cannot use {MODE}={mode}"),
                    "the metadata service answers over IPv4 or IPv6",
                    format!("set it to IPv4 or IPv6, or unset it for {IPV4_ENDPOINT}"),
                ));
            }
        };
        let disabled = variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Self { disabled, shared: true, ..Self::at(&endpoint)? })
    }

    /// Returns the facts of the member that this process is. Whatever keeps the service from telling them is part of
    /// the facts too, for it is for the judgement to refuse, with the same report at all members.
    ///
    /// # Errors
    /// When `/proc` doesn't tell what the process may lock in memory.
    pub fn facts(&self, rank: usize) -> Result<Facts> {
        let host = Some(host::host_facts()?);
        let name = host::name();
        let devices = host.as_ref().map_or(0, |host| host.efa_devices);
        let read = || {
            let mut member = self.member(rank, name.clone())?;
            tell_kinds(&mut member.interfaces, devices);
            Ok(member)
        };
        let folder = if self.shared && !self.disabled { shared::folder() } else { None };
        let outcome = match folder {
            Some(folder) => shared::shared(&folder, &self.endpoint, self.deadline * 2, read),
            None => read(),
        };
        let (member, failure) = match outcome {
            Ok(member) => (MemberFacts { rank, host: name, ..member }, None),
            Err(failure) => {
                let member = MemberFacts {
                    rank,
                    host: name,
                    instance_id: host::instance_id().unwrap_or_default(),
                    instance_type: None,
                    availability_zone_id: None,
                    placement: None,
                    interfaces: Vec::new(),
                };
                (member, Some(failure))
            }
        };
        Ok(Facts { site: Site::Ec2, member, host, failure, bound: None })
    }

    fn member(&self, rank: usize, host: Option<String>) -> Result<MemberFacts, MetadataFailure> {
        if self.disabled {
            return Err(MetadataFailure::Disabled);
        }
        let mut client = Client::new(self);
        let instance_id = client.required("instance-id")?;
        let instance_type = client.required("instance-type")?;
        let zone = client.required("placement/availability-zone-id")?;
        let keys = client.required("placement/")?;
        let has = |name: &str| keys.lines().any(|key| key.trim() == name);
        let group = match has("group-name") {
            true => client.optional("placement/group-name")?,
            false => None,
        };
        let partition = match has("partition-number") {
            true => number(&mut client, "placement/partition-number")?,
            false => None,
        };
        let placement = PlacementFacts { group, strategy: None, partition };
        Ok(MemberFacts {
            rank,
            host,
            instance_id,
            instance_type: Some(instance_type),
            availability_zone_id: Some(zone),
            placement: Some(placement),
            interfaces: interfaces(&mut client)?,
        })
    }
}

/// Returns `true` if the environment names a metadata service. It then counts as an instance's even where the firmware
/// doesn't say that this is EC2, which is the stricter way.
pub(super) fn is_named() -> bool {
    variable(ENDPOINT).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Metadata> {
        let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
        Metadata::from_variables(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_variables_of_the_sdks_say_where_the_service_is() {
        let endpoint = |variables: &[(&str, &str)]| settings(variables).expect("good settings").endpoint;
        assert_eq!(endpoint(&[]), "http://169.254.169.254");
        assert_eq!(endpoint(&[(MODE, "IPv4")]), "http://169.254.169.254");
        assert_eq!(endpoint(&[(MODE, "ipv6")]), "http://[fd00:ec2::254]");
        assert_eq!(
            endpoint(&[(MODE, "IPv6"), (ENDPOINT, "http://127.0.0.1:1338/")]),
            "http://127.0.0.1:1338"
        );
        for value in ["true", "TRUE"] {
            assert!(settings(&[(DISABLED, value)]).expect("good settings").disabled);
        }
        assert!(!settings(&[(DISABLED, "false")]).expect("good settings").disabled);
    }

    #[test]
    fn an_endpoint_that_is_no_http_address_is_refused() {
        for bad in
            ["169.254.169.254", "https://192.0.2.1", "http://", "http:///latest", "http://a b", "file:/x"]
        {
            let error = settings(&[(ENDPOINT, bad)]).expect_err(bad).to_string();
            assert!(error.contains(ENDPOINT), "{error}");
        }
        let error = settings(&[(MODE, "IPv5")]).expect_err("no such version").to_string();
        assert!(error.contains("IPv5") && error.contains(MODE), "{error}");
    }
}
