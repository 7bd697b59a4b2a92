//! Writes a report as a table for people.

use std::fmt;

use super::facts::Site;
use super::names::shortened;
use super::report::{Finding, Report, Severity};
use efa_error::printable;

/// So many commands of one remedy are printed; a job of thousands has as many interfaces to move.
const COMMANDS_SHOWN: usize = 3;
/// So many groups are named in the heading of a finding.
const GROUPS_SHOWN: usize = 3;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const GREEN: &str = "\x1b[1;32m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

impl Report {
    /// Returns the report as a table for people, with or without a terminal's colours. Members are grouped; the JSON
    /// has them one by one.
    pub fn to_table(&self, color: bool) -> String {
        let paint = |code: &str, text: &str| {
            if color { format!("{code}{text}{RESET}") } else { text.to_owned() }
        };
        let verdict = match self.exit_status() {
            0 => paint(GREEN, "admitted"),
            1 => paint(RED, "refused"),
            _ => paint(RED, "refused (undetermined)"),
        };
        let site = match self.site {
            Site::Ec2 => "facts from EC2",
            Site::File => "facts from files",
            Site::Host => "facts from the hosts themselves, off EC2",
        };
        let members = if self.members == 1 { "1 member".into() } else { format!("{} members", self.members) };
        let efa = if self.policy.efa() { ", efa asked for" } else { "" };
        let mut text = format!("{verdict}: {members}, {} policy{efa}, {site}\n", self.policy);
        for finding in &self.findings {
            text += "\n";
            text += &heading(finding, &paint);
            for (label, body) in [("what", &finding.text.what), ("why", &finding.text.why)] {
                let body = printable(body);
                text += &format!("  {}  {body}\n", paint(DIM, &format!("{label:<4}")));
            }
            text += &remedy(finding, &paint);
        }
        if !self.notes.is_empty() {
            text += "\n";
        }
        for note in &self.notes {
            text += &format!("{} {}\n", paint(DIM, "note"), printable(note));
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_table(false))
    }
}

fn heading(finding: &Finding, paint: &impl Fn(&str, &str) -> String) -> String {
    let severity = match finding.severity {
        Severity::Error => paint(RED, "error  "),
        Severity::Warning => paint(YELLOW, "warning"),
    };
    let mut line = format!("{severity}  {}", paint(BOLD, &format!("{:<30}", finding.code.name())));
    if !finding.members.is_empty() {
        line += &format!("  {}", shortened(&finding.members));
    }
    let hidden = finding.security_groups.len().saturating_sub(GROUPS_SHOWN);
    let mut groups =
        finding.security_groups.iter().take(GROUPS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if hidden > 0 {
        groups += &format!(" and {hidden} more");
    }
    if !groups.is_empty() {
        line += &format!("  {}", printable(&groups));
    }
    line.trim_end().to_owned() + "\n"
}

fn remedy(finding: &Finding, paint: &impl Fn(&str, &str) -> String) -> String {
    let mut text = String::new();
    for (index, command) in finding.text.remedy.lines().take(COMMANDS_SHOWN).enumerate() {
        let label = if index == 0 { "fix " } else { "    " };
        text += &format!("  {}  {}\n", paint(DIM, label), printable(command));
    }
    let hidden = finding.text.remedy.lines().count().saturating_sub(COMMANDS_SHOWN);
    if hidden > 0 {
        text += &format!("        and {hidden} more commands like these; --json has them all\n");
    }
    text
}
