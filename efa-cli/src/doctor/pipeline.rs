//! Findings in forms that pipelines show: SARIF and JUnit.

use std::fmt::Write;

use efa_admission::{Finding, Report, Severity};
use serde_json::{Value, json};

use super::args::ReportFormat;
use crate::xml::escaped;

const GUIDE: &str = "docs/admission.md";

/// Returns the report in that form.
pub(super) fn text(report: &Report, format: ReportFormat) -> String {
    match format {
        ReportFormat::Sarif => sarif(report).to_string() + "\n",
        ReportFormat::Junit => junit(report),
    }
}

/// Writes SARIF 2.1.0: a rule for each code that was found, a result for each finding.
fn sarif(report: &Report) -> Value {
    let mut codes: Vec<&str> = report.findings().iter().map(|finding| finding.code.name()).collect();
    codes.dedup();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| json!({"id": code, "helpUri": GUIDE, "shortDescription": {"text": code.replace('-', " ")}}))
        .collect();
    let result = |finding: &Finding| {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let members = finding.members.iter().map(|name| json!({"name": name.to_string(), "kind": "member"}));
        let groups = finding.security_groups.iter().map(|id| json!({"name": id, "kind": "resource"}));
        json!({
            "ruleId": finding.code.name(),
            "level": level,
            "message": {"text": format!("{}. {}. Fix: {}", finding.text.what, finding.text.why, finding.text.remedy)},
            "locations": [{"logicalLocations": members.chain(groups).collect::<Vec<_>>()}],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "efa doctor", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{"executionSuccessful": true, "exitCode": report.exit_status()}],
            "results": report.findings().iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// Writes JUnit's XML: one test case for the verdict, which fails with an error; one for each warning, which is
/// skipped.
fn junit(report: &Report) -> String {
    let findings = report.findings();
    let of = |severity| findings.iter().filter(move |finding| finding.severity == severity);
    let (errors, warnings) = (of(Severity::Error).count(), of(Severity::Warning).count());
    let tests = (errors + warnings).max(1);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"efa doctor\" tests=\"{tests}\" failures=\"{errors}\" errors=\"0\" skipped=\"{warnings}\">"
    );
    if findings.is_empty() {
        text += "  <testcase classname=\"admission\" name=\"admitted\"/>\n";
    }
    for finding in findings {
        let name = escaped(finding.code.name());
        let message = escaped(&finding.text.what);
        let body = escaped(&format!("why: {}\nfix: {}", finding.text.why, finding.text.remedy));
        let _ = writeln!(text, "  <testcase classname=\"admission\" name=\"{name}\">");
        let _ = match finding.severity {
            Severity::Error => {
                writeln!(text, "    <failure message=\"{message}\" type=\"{name}\">{body}</failure>")
            }
            Severity::Warning => writeln!(text, "    <skipped message=\"warning: {message}\"/>"),
        };
        text += "  </testcase>\n";
    }
    text + "</testsuite>\n"
}
