//! Colours on a terminal: whether to use them, and how.

use std::io::IsTerminal;

/// Returns whether to colour what goes to `stream`.
///
/// Never with `NO_COLOR` in the environment, always with `CLICOLOR_FORCE`, which helps where a launcher carries the output
/// to a terminal; else if `stream` is a terminal that is not `dumb`.
pub(crate) fn wants_colour(stream: &impl IsTerminal) -> bool {
    let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if value("NO_COLOR").is_some() {
        return false;
    }
    value("CLICOLOR_FORCE").is_some_and(|value| value != "0")
        || stream.is_terminal() && value("TERM").is_none_or(|term| term != "dumb")
}

/// Returns the text in a colour, which is an SGR code such as `1;31`; as it is unless `coloured`.
pub(crate) fn paint(coloured: bool, colour: &str, text: &str) -> String {
    if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}
