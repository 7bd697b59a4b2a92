//! Failures of the metadata service and of the EC2 API: why facts or rules are not known, and what helps.

use serde::{Deserialize, Serialize};

/// Why an instance's metadata did not tell who a member is. Each leads to a finding of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MetadataFailure {
    /// `AWS_EC2_METADATA_DISABLED` forbids to ask.
    Disabled,
    /// Nothing answers at the service's address, or it hangs up.
    Unreachable,
    /// No answer in time. The service's answers are given few hops to live; where these don't reach into a container,
    /// it looks like this.
    TimedOut,
    /// It gave a session token, and then did not answer in time.
    Slow,
    /// 403: the service is switched off for the instance.
    Forbidden,
    /// No session token, but this status: not the second version of the service.
    NoToken(u16),
    /// 401, to a token that was new.
    Unauthorized,
    /// 404 for this key, which every instance has.
    Missing(String),
    /// Another status, in the end, for a key.
    Status {
        /// What was asked for.
        key: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer for this key is not HTTP, too long, or not of its form.
    Malformed(String),
}

impl MetadataFailure {
    /// Returns the key that it is about, if any.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Missing(key) | Self::Status { key, .. } | Self::Malformed(key) => Some(key),
            _ => None,
        }
    }

    /// Returns the cause, as part of a sentence.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Disabled => "AWS_EC2_METADATA_DISABLED switches it off".into(),
            Self::Unreachable => "nothing answers at its address".into(),
            Self::TimedOut => {
                "no answer came in time, as in a container that the hop limit keeps it from reaching".into()
            }
            Self::Slow => "it answers too slowly: the instance may ask link-local services too often".into(),
            Self::Forbidden => "it is switched off for the instance (status 403)".into(),
            Self::NoToken(status) => {
                format!("it gives no session token (status {status}), so it is not IMDSv2")
            }
            Self::Unauthorized => "it rejects the session token that it has just given (status 401)".into(),
            Self::Missing(key) => format!("it has no {key} (status 404)"),
            Self::Status { key, status } => format!("it answers {key} with status {status}"),
            Self::Malformed(key) => format!("its answer for {key} makes no sense"),
        }
    }
}

/// Why the EC2 API did not tell something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ApiFailure {
    /// This build has no client for it: the feature `aws` is off.
    NotBuiltIn,
    /// No region is known to ask in.
    NoRegion,
    /// Neither environment nor files nor the instance's role give credentials.
    NoCredentials,
    /// The credentials are good, but lack the right.
    Denied,
    /// The credentials are unknown or wrong.
    BadCredentials,
    /// The credentials are past their time.
    Expired,
    /// This host's clock differs from that of the API by so many seconds, too much for any credentials.
    ClockSkew(u64),
    /// The account makes too many requests, in spite of retries.
    Throttled,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable,
    /// Any other error, by the code that the API gives it.
    Other(String),
}

impl ApiFailure {
    /// Returns the cause, as part of a sentence.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::NotBuiltIn => "this build does not ask the EC2 API (feature aws)".into(),
            Self::NoRegion => "no region is set to ask the EC2 API in".into(),
            Self::NoCredentials => "there are no credentials for the EC2 API".into(),
            Self::Denied => "the credentials lack the right to ask the EC2 API".into(),
            Self::BadCredentials => "the EC2 API does not accept the credentials".into(),
            Self::Expired => "the credentials for the EC2 API have expired".into(),
            Self::ClockSkew(seconds) => {
                format!(
                    "this host's clock is {seconds} s off that of the EC2 API, which rejects its requests"
                )
            }
            Self::Throttled => "the EC2 API has too many requests of this account".into(),
            Self::TimedOut => "the EC2 API did not answer in time".into(),
            Self::Unreachable => "the EC2 API can't be reached".into(),
            Self::Other(code) => format!("the EC2 API answered {code}"),
        }
    }
}
