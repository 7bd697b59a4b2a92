//! From the SDK's types to ours, errors among them.

use std::time::{Duration, SystemTime};

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::{IpPermission, NetworkInterfaceType, SecurityGroup};

use crate::facts::InterfaceKind;
use crate::failure::ApiFailure;
use crate::groups::{GroupPair, GroupRules, IpRange, Ipv6Range, Permission, PrefixList};

/// A request is rejected when its time is further off than this from the API's, either way.
const TOLERATED_SKEW: Duration = Duration::from_secs(5 * 60);
/// Longer than any error code.
const LONGEST_CODE: usize = 64;

/// The SDK takes half a reply for a whole one whose parts are empty, so a group without an id is no group.
pub(super) fn group_rules(group: &SecurityGroup) -> Result<GroupRules, ApiFailure> {
    let Some(id) = group.group_id().filter(|id| !id.is_empty()) else {
        return Err(ApiFailure::Other("a group without an id".into()));
    };
    Ok(GroupRules {
        group_id: id.to_owned(),
        owner_id: group.owner_id().map(str::to_owned),
        ip_permissions: group.ip_permissions().iter().map(permission).collect(),
        ip_permissions_egress: group.ip_permissions_egress().iter().map(permission).collect(),
    })
}

fn permission(entry: &IpPermission) -> Permission {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let pair = |pair: &aws_sdk_ec2::types::UserIdGroupPair| GroupPair {
        group_id: owned(pair.group_id()),
        user_id: owned(pair.user_id()),
        peering_status: owned(pair.peering_status()),
    };
    let lists = entry.prefix_list_ids().iter();
    Permission {
        from_port: entry.from_port().map(i64::from),
        to_port: entry.to_port().map(i64::from),
        ip_protocol: entry.ip_protocol().unwrap_or_default().to_owned(),
        user_id_group_pairs: entry.user_id_group_pairs().iter().map(pair).collect(),
        ip_ranges: entry.ip_ranges().iter().map(|it| IpRange { cidr_ip: owned(it.cidr_ip()) }).collect(),
        ipv6_ranges: entry
            .ipv6_ranges()
            .iter()
            .map(|it| Ipv6Range { cidr_ipv6: owned(it.cidr_ipv6()) })
            .collect(),
        prefix_list_ids: lists.map(|it| PrefixList { prefix_list_id: owned(it.prefix_list_id()) }).collect(),
    }
}

/// Returns the kind. One that is new to us stays unknown, which is judged as an EFA.
pub(super) fn kind(told: Option<&NetworkInterfaceType>) -> InterfaceKind {
    match told.map(NetworkInterfaceType::as_str) {
        Some("efa") => InterfaceKind::Efa,
        Some("efa-only") => InterfaceKind::EfaOnly,
        Some("interface" | "branch" | "trunk") => InterfaceKind::Interface,
        _ => InterfaceKind::Unknown,
    }
}

pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> ApiFailure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    log::debug!("the EC2 API failed: {}", DisplayErrorContext(error));
    match error {
        SdkError::TimeoutError(_) => ApiFailure::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => ApiFailure::TimedOut,
        SdkError::DispatchFailure(_) => ApiFailure::Unreachable,
        SdkError::ServiceError(answer) => {
            let date = answer.raw().headers().get("date").and_then(|date| skew(date, SystemTime::now()));
            by_code(answer.err().code().unwrap_or_default(), date)
        }
        SdkError::ResponseError(answer) => {
            ApiFailure::Other(format!("status {} without sense", answer.raw().status().as_u16()))
        }
        _ => ApiFailure::Other("nothing: the request could not be made".into()),
    }
}

/// Returns what the API's codes come to. A clock that is off shows as expired or as badly signed requests.
fn by_code(code: &str, skew: Option<Duration>) -> ApiFailure {
    match code {
        "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "AuthFailure"
        | "InvalidSignatureException"
            if skew.is_some_and(|skew| skew > TOLERATED_SKEW) =>
        {
            ApiFailure::ClockSkew(skew.unwrap_or_default().as_secs())
        }
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "Blocked" => ApiFailure::Denied,
        "RequestExpired" | "ExpiredToken" | "ExpiredTokenException" | "RequestTimeTooSkewed" => {
            ApiFailure::Expired
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "InvalidAccessKeyId"
        | "OptInRequired" => ApiFailure::BadCredentials,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "TooManyRequestsException"
        | "SlowDown" => ApiFailure::Throttled,
        code => {
            // It comes from outside and is printed.
            let printable = |letter: &char| letter.is_ascii_alphanumeric() || ".-_:".contains(*letter);
            let code: String = code.chars().filter(printable).take(LONGEST_CODE).collect();
            ApiFailure::Other(if code.is_empty() { "an error without a code".into() } else { code })
        }
    }
}

/// Returns how far this host's time is from the one in the reply's header.
fn skew(date: &str, now: SystemTime) -> Option<Duration> {
    let theirs: SystemTime = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.try_into().ok()?;
    Some(now.duration_since(theirs).unwrap_or_else(|before| before.duration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_to_causes() {
        for (code, cause) in [
            ("UnauthorizedOperation", ApiFailure::Denied),
            ("RequestExpired", ApiFailure::Expired),
            ("ExpiredToken", ApiFailure::Expired),
            ("AuthFailure", ApiFailure::BadCredentials),
            ("RequestLimitExceeded", ApiFailure::Throttled),
            ("InternalError", ApiFailure::Other("InternalError".into())),
            ("a\x1b[31m b", ApiFailure::Other("a31mb".into())),
            ("", ApiFailure::Other("an error without a code".into())),
        ] {
            assert_eq!(by_code(code, None), cause);
            assert_eq!(by_code(code, Some(Duration::from_secs(10))), cause);
        }
    }

    #[test]
    fn a_clock_that_is_off_explains_requests_that_seem_expired_or_forged() {
        let hour = Some(Duration::from_secs(3600));
        for code in ["RequestExpired", "AuthFailure", "SignatureDoesNotMatch", "RequestTimeTooSkewed"] {
            assert_eq!(by_code(code, hour), ApiFailure::ClockSkew(3600));
        }
        assert_eq!(by_code("UnauthorizedOperation", hour), ApiFailure::Denied);
    }

    #[test]
    fn the_time_of_a_reply_is_compared_both_ways() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_792_756_800);
        let date = "Fri, 23 Oct 2026 12:00:00 GMT";
        let minute = Duration::from_secs(60);
        for now in [noon + minute, noon - minute] {
            assert_eq!(skew(date, now), Some(minute));
        }
        assert_eq!(skew("noon", noon), None);
    }

    #[test]
    fn an_interface_type_that_is_new_stays_unknown() {
        for (name, expected) in [
            ("efa", InterfaceKind::Efa),
            ("efa-only", InterfaceKind::EfaOnly),
            ("interface", InterfaceKind::Interface),
            ("efa-next", InterfaceKind::Unknown),
        ] {
            assert_eq!(kind(Some(&NetworkInterfaceType::from(name))), expected);
        }
        assert_eq!(kind(None), InterfaceKind::Unknown);
    }
}
