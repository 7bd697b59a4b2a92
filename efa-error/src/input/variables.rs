//! Variables of the environment, as text and as a number of seconds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{Error, Result};

/// Returns a variable's value without white space around it. An empty variable counts as not set, as in the AWS SDKs.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Returns the seconds that a variable holds, or `default` where it is not set.
///
/// # Errors
/// [`Error::Setting`] for anything but a number within `limits`.
pub fn seconds(name: &str, default: Duration, limits: RangeInclusive<f64>) -> Result<Duration> {
    variable(name).map_or(Ok(default), |value| parse(name, &value, default, limits))
}

/// Returns the seconds that a variable holds, if it is set.
///
/// # Errors
/// As those of [`seconds`].
pub fn optional_seconds(name: &str, limits: RangeInclusive<f64>) -> Result<Option<Duration>> {
    let example = Duration::from_secs(60);
    variable(name).map(|value| parse(name, &value, example, limits)).transpose()
}

fn parse(name: &str, value: &str, default: Duration, limits: RangeInclusive<f64>) -> Result<Duration> {
    match value.parse::<f64>() {
        Ok(seconds) if limits.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(Error::setting(
            format!("cannot use {name}={value}"),
            format!("it is not a number of seconds between {} and {}", limits.start(), limits.end()),
            format!("set it like {name}={}, or unset it", default.as_secs()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_lie_within_their_limits() {
        let parse = |value| parse("EFA_TIMEOUT", value, Duration::from_secs(300), 0.001..=60.0);
        assert_eq!(parse("0.5").unwrap(), Duration::from_millis(500));
        for nonsense in ["0", "61", "soon", "NaN", "-1", "inf"] {
            let error = parse(nonsense).unwrap_err().to_string();
            assert!(error.contains(nonsense) && error.contains("EFA_TIMEOUT=300"), "{error}");
        }
    }

    #[test]
    fn fuzz_seconds_are_refused_or_lie_within_their_limits() {
        let limits = 0.001..=31_536_000.0;
        efa_fuzz::rounds("seconds", 50_000, |random| {
            let text = random.pick(&["300", "0.5", "1e3", "31536000", "-0", "+7", "nan", "inf", "0x10"]);
            let text = random.mutate_text(text);
            match parse("EFA_TIMEOUT", &text, Duration::from_secs(300), limits.clone()) {
                Err(error) => assert!(error.to_string().contains("EFA_TIMEOUT=300"), "{error}"),
                Ok(seconds) => assert!(limits.contains(&seconds.as_secs_f64()), "{text}: {seconds:?}"),
            }
        });
    }
}
