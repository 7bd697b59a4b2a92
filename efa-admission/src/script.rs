//! All remedies of a report as one shell script: checks that only read first, then changes that are tried until they
//! are asked for.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::report::{Finding, Report};
use efa_error::printable;

/// AWS takes no more ids in one request comfortably.
const MOST_IDS: usize = 200;

const HEADING: &str = r#"#!/bin/sh
# Remedies for a job that 'efa doctor' has judged. Read them before you run them: each is one way to mend the finding.
# Without APPLY=1 every change is only tried (--dry-run), and nothing is waited for.
set -u
change() {
    if [ "${APPLY:-0}" = 1 ]; then "$@"; else "$@" --dry-run || true; fi
}
settle() {
    if [ "${APPLY:-0}" = 1 ]; then "$@"; fi
}
"#;

impl Report {
    /// Returns the remedies of all findings as a commented shell script: checks that only read, then the commands that
    /// change something, each with a way to undo it. Without `APPLY=1` in the environment the commands run with
    /// `--dry-run`.
    pub fn to_script(&self) -> String {
        let mut text = String::from(HEADING);
        text += "\n# What there is now. Keep the output: it is what the undo lines go back to.\n";
        text += "aws sts get-caller-identity\n";
        let groups: BTreeSet<&str> =
            self.findings.iter().flat_map(|it| &it.security_groups).map(String::as_str).collect();
        let instances: BTreeSet<&str> = self
            .findings
            .iter()
            .flat_map(|it| &it.members)
            .map(|name| name.instance_id.as_str())
            .filter(|id| id.starts_with("i-"))
            .collect();
        for (command, ids) in [
            ("aws ec2 describe-security-groups --output json --group-ids", groups),
            ("aws ec2 describe-instances --output json --instance-ids", instances),
        ] {
            let ids: Vec<&str> = ids.into_iter().collect();
            for some in ids.chunks(MOST_IDS) {
                text += &format!("{command} {}\n", some.join(" "));
            }
        }
        let mut seen = BTreeSet::new();
        for finding in &self.findings {
            text += &heading(finding);
            for line in finding.text.remedy.lines() {
                match seen.insert(line) {
                    true => text += &command(line),
                    false => text += "# (the same command as above)\n",
                }
            }
        }
        if self.findings.is_empty() {
            text += "\n# Nothing was found that needs a remedy.\n";
        }
        text
    }
}

fn heading(finding: &Finding) -> String {
    let mut text = String::new();
    let comment = |line: &str| printable(line).replace('\n', " ");
    let _ = writeln!(text, "\n# {}: {}", finding.code.name(), comment(&finding.text.what));
    let _ = writeln!(text, "# why: {}", comment(&finding.text.why));
    text
}

/// Returns one line of a remedy, as the script has it.
fn command(line: &str) -> String {
    let (code, remark) = line.split_once("  # ").unwrap_or((line, ""));
    let mut text = String::new();
    if !remark.is_empty() {
        let _ = writeln!(text, "# {remark}");
    }
    // What is not AWS's command belongs on a host, or has to be thought about.
    if !code.starts_with("aws ") || code.contains("_ID ") || code.contains("_NAME") {
        return text + &format!("# by hand: {code}\n");
    }
    if let Some(undo) = undo(code) {
        let _ = writeln!(text, "# undo: {undo}");
    }
    text + &guarded(code) + "\n"
}

/// Returns the command with `change` before everything that changes something, and `settle` before waiting.
fn guarded(code: &str) -> String {
    const CHANGES: [&str; 10] = [
        "authorize-",
        "modify-",
        "create-",
        "run-instances",
        "stop-instances",
        "start-instances",
        "attach-",
        "associate-",
        "put-",
        "delete-",
    ];
    let mut text = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("aws ") {
        let (before, from) = rest.split_at(at);
        let verb = from.split_whitespace().nth(2).unwrap_or_default();
        text += before;
        if verb == "wait" {
            text += "settle ";
        } else if from.starts_with("aws ec2 ") && CHANGES.iter().any(|prefix| verb.starts_with(prefix)) {
            text += "change ";
        }
        text += "aws ";
        rest = &from["aws ".len()..];
    }
    text + rest
}

/// Returns how to take the command back.
fn undo(code: &str) -> Option<String> {
    if code.contains("authorize-security-group-") {
        return Some(code.replace("authorize-security-group-", "revoke-security-group-"));
    }
    let to_what_there_was = [
        (
            "modify-network-interface-attribute",
            "the same command with the interface's groups from the output above",
        ),
        (
            "modify-instance-metadata-options",
            "the same command with the MetadataOptions from the output above",
        ),
        ("modify-instance-attribute", "the same command with the instance type from the output above"),
        ("attach-network-interface", "aws ec2 detach-network-interface, then delete-network-interface"),
        ("run-instances", "aws ec2 terminate-instances with the ids that the command prints"),
        ("create-placement-group", "aws ec2 delete-placement-group --group-name efa-job"),
        ("create-security-group", "aws ec2 delete-security-group with the id that the command prints"),
    ];
    to_what_there_was.into_iter().find(|(verb, _)| code.contains(verb)).map(|(_, undo)| undo.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_guarded_and_questions_are_not() {
        assert_eq!(guarded("aws ec2 describe-instances"), "aws ec2 describe-instances");
        assert_eq!(
            guarded(
                "aws ec2 stop-instances -x && aws ec2 wait instance-stopped -x && aws ec2 start-instances -x"
            ),
            "change aws ec2 stop-instances -x && settle aws ec2 wait instance-stopped -x && change aws ec2 \
             start-instances -x"
        );
        assert_eq!(
            guarded("aws ec2 attach-x \"$(aws ec2 create-network-interface)\""),
            "change aws ec2 attach-x \"$(change aws ec2 create-network-interface)\""
        );
    }

    #[test]
    fn what_is_no_command_of_aws_is_a_comment() {
        assert_eq!(
            command("ulimit -l unlimited  # in the shell"),
            "# in the shell\n# by hand: ulimit -l unlimited\n"
        );
        let rule = "aws ec2 authorize-security-group-egress --group-id sg-1";
        assert_eq!(
            command(rule),
            format!("# undo: {}\nchange {rule}\n", rule.replace("authorize", "revoke"))
        );
    }
}
