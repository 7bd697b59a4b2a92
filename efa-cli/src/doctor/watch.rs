//! `--watch S`: judges again and again, and says what has changed.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use efa_admission::{Finding, Report, Severity};
use efa_error::printable;

use crate::failure::Failure;
use crate::stdout;

/// Prints the report once and then what has changed, until the process is interrupted or its output is closed. What
/// can't be judged for the moment, such as a file that is being replaced, is told and tried again.
pub(super) fn watch(
    interval: Duration,
    judge: impl Fn() -> Result<Report, Failure>,
) -> Result<ExitCode, Failure> {
    // What is wrong from the beginning is an error like any other.
    let mut known = judge()?;
    stdout::print(&format!("{} watching every {} s\n{known}", now(), interval.as_secs()))?;
    let mut silent = false;
    loop {
        thread::sleep(interval);
        match judge() {
            Ok(report) => {
                let mut lines = changes(&known, &report);
                if silent {
                    lines.insert(0, "judged again".into());
                }
                silent = false;
                let time = now();
                let text: String = lines.iter().map(|line| format!("{time} {}\n", printable(line))).collect();
                stdout::print(&text)?;
                known = report;
            }
            Err(_) if silent => {}
            Err(failure) => {
                silent = true;
                stdout::print(&format!("{} cannot be judged now\n", now()))?;
                let _ = failure.report();
            }
        }
    }
}

/// Returns what the later report says that the earlier one does not, and the other way round.
fn changes(before: &Report, after: &Report) -> Vec<String> {
    let of = |report: &Report| report.findings().to_vec();
    let (old, new) = (of(before), of(after));
    let line = |word: &str, finding: &Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{word} {severity} {}: {}", finding.code.name(), finding.text.what)
    };
    let gone = old.iter().filter(|it| !new.contains(it)).map(|it| line("gone:", it));
    let come = new.iter().filter(|it| !old.contains(it)).map(|it| line("new:", it));
    let mut lines: Vec<String> = gone.chain(come).collect();
    if before.members() != after.members() {
        lines.push(format!("{} members, before {}", after.members(), before.members()));
    }
    let verdict = |report: &Report| match report.exit_status() {
        0 => "admitted",
        1 => "refused",
        _ => "undetermined",
    };
    if verdict(before) != verdict(after) {
        lines.push(format!("{}, before {}", verdict(after), verdict(before)));
    }
    lines
}

/// Returns the time in UTC, such as `2026-11-26T12:00:00Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    time_of(since.as_secs())
}

/// Returns seconds since 1970 as a date, by the algorithm of Howard Hinnant's "chrono-compatible low-level date
/// algorithms".
fn time_of(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time_of(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_of(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(time_of(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time_of(1_795_694_400), "2026-11-26T12:00:00Z");
    }
}
