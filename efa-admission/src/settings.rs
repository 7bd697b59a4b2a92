//! What the environment sets.

/// A variable's value without white space around it; an empty one counts as not set, as in the AWS SDKs.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
