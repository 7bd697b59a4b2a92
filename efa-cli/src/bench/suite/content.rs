//! What stands on the page of the report.

use efa_core::fabric::Provider;

use super::others::Measurement;
use super::page::Page;
use super::published;
use super::results::{Measured, Results, is_real_efa};
use crate::bench::case::Case;
use crate::bench::output::Record;
use crate::bench::plot;
use crate::bytes::Bytes;
use crate::emulation::is_emulated;

/// Puts the page together.
pub(super) fn page(results: &Results) -> Page {
    let mut page = Page::new(format!("efa bench suite, {}", plot::today()));
    page.text(format!("efa {}. This page names hosts, instances and addresses.", env!("CARGO_PKG_VERSION")));
    if cfg!(debug_assertions) {
        page.text(
            "This efa is a debug build, which is slow: build it with --release before you compare figures.",
        );
    }
    if results.quick {
        page.text("The suite ran with --quick: three sizes, few iterations. The figures are rough.");
    }
    match &results.measured {
        None => page.text("The job was refused, so nothing was measured."),
        Some(measured) => {
            page.text(measured.job.to_string());
            if measured.job.provider == Provider::Efa && is_emulated() {
                page.text("The EFA is an emulated device: no figure here says anything about EFA's speed.");
            }
            if let Some([one, other]) = &measured.between {
                page.text(match one == other {
                    true => format!("Cases between two ranks were measured between two ranks of {one}."),
                    false => format!("Cases between two ranks were measured between {one} and {other}."),
                });
            }
        }
    }
    page.heading("What efa doctor says");
    page.verbatim(&results.examination.table);
    page.picture("doctor.svg", "members, network cards, subnets and security groups");
    page.heading("What rank 0's host has");
    match &results.info {
        Ok(info) => page.verbatim(info.to_text(false)),
        Err(error) => page.text(format!("This can't be told: {error}")),
    }
    if let Some(measured) = &results.measured {
        for (case, records) in &measured.cases {
            self::case(&mut page, *case, records);
        }
        comparison(&mut page, measured);
        publications(&mut page, measured, is_real_efa(&measured.job));
    }
    page
}

/// Adds a case with its plot and its table.
fn case(page: &mut Page, case: Case, records: &[Record]) {
    page.heading(case.to_string());
    if case != Case::Barrier {
        page.picture(format!("{case}.svg"), case.to_string());
    }
    let mut columns = vec!["size"];
    let times = ["mean, us", "p50, us", "p99, us", "min, us", "max, us"];
    if case.measures_time() {
        columns.extend(times);
    }
    if case.measures_bandwidth() {
        columns.push("10^6 B/s");
    }
    if case == Case::MessageRate {
        columns.push("messages/s");
    }
    if case.is_collective() {
        columns.push("algorithm");
    }
    if case.moves_data_collectively() {
        columns.extend(["busbw, GB/s", "wrong"]);
    }
    let row = |record: &Record| {
        let size = if case == Case::Barrier {
            format!("{} ranks", record.ranks)
        } else {
            Bytes(record.size).to_string()
        };
        let mut cells = vec![size];
        let times = record.time_us.map(|it| [it.mean, it.p50, it.p99, it.min, it.max]);
        cells.extend(times.into_iter().flatten().map(figure));
        cells.extend(record.mb_per_s.map(figure));
        cells.extend(record.messages_per_s.map(|rate| format!("{rate:.0}")));
        cells.extend(record.algorithm.clone());
        if let Some(run) = record.collective {
            cells.extend([format!("{:.3}", run.busbw), run.wrong.to_string()]);
        }
        cells
    };
    page.table(columns, records.iter().map(row).collect());
}

/// Adds the same cases by programs that are installed here.
fn comparison(page: &mut Page, measured: &Measured) {
    page.heading("Beside fabtests and the OSU benchmarks");
    let mut rows = Vec::new();
    for Measurement { program, case, figures } in &measured.others.results {
        for &(size, theirs) in figures {
            let Some(ours) = ours(measured, *case, size) else { continue };
            rows.push(vec![
                case.to_string(),
                Bytes(size).to_string(),
                figure(ours),
                figure(theirs),
                format!("{:.2}", ours / theirs),
                program.clone(),
            ]);
        }
    }
    if !rows.is_empty() {
        page.table(["case", "size", "efa", "other", "efa / other", "program"], rows);
        page.text(
            "Times are mean microseconds, where less is better; bandwidths are 10^6 bytes per second. Each program ran \
             once, after the cases above, with the libfabric or MPI that it is linked to. MPI has its own shared memory \
             within a host.",
        );
    }
    for missing in &measured.others.missing {
        page.text(format!("Not compared: {missing}."));
    }
}

/// Adds what others have published for the instance type, with our figures beside it if they may be compared.
fn publications(page: &mut Page, measured: &Measured, is_comparable: bool) {
    page.heading("Beside published figures");
    let Some(instance_type) = &measured.instance_type else {
        page.text(
            "There are none to compare with: the two hosts are no EC2 instances, their type is not known, or they \
             are of different types.",
        );
        return;
    };
    let mut published = published::figures(instance_type).peekable();
    if published.peek().is_none() {
        page.text(format!(
            "This version of efa knows of no published figures for {instance_type}, only for {}.",
            published::types().join(", ")
        ));
        return;
    }
    if !is_comparable {
        page.text("This job did not run over a real EFA, so its figures don't stand beside these.");
    }
    for it in published {
        let rows = it.figures.iter().map(|&(size, theirs)| {
            let ours = ours(measured, it.case, size).filter(|_| is_comparable);
            let ratio = ours.map(|ours| format!("{:.2}", ours / theirs));
            vec![
                Bytes(size).to_string(),
                ours.map(figure).unwrap_or_default(),
                figure(theirs),
                ratio.unwrap_or_default(),
            ]
        });
        page.text(format!("{} on {}: {} ({}). {}", it.case, it.instance_type, it.by, it.date, it.source));
        page.table(["size", "efa", "published", "efa / published"], rows.collect());
    }
    page.text("Times are mean microseconds, where less is better; bandwidths are 10^6 bytes per second.");
}

/// Returns what was measured here of a case at a size: the mean time, or else the bandwidth.
fn ours(measured: &Measured, case: Case, size: u64) -> Option<f64> {
    let (_, records) = measured.cases.iter().find(|(measured, _)| *measured == case)?;
    let record = records.iter().find(|record| record.size == size)?;
    record.time_us.map(|time| time.mean).or(record.mb_per_s).filter(|&value| value > 0.0)
}

/// Returns a figure with as many places as mean something.
fn figure(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::suite::others::Others;
    use efa_core::JobReport;
    use efa_core::admission::Policy;
    use efa_core::fabric::ProviderChoice;

    fn measured(instance_type: Option<&str>) -> Measured {
        let job = JobReport::of_this_host(ProviderChoice::Only(Provider::Shm), &Policy::strict());
        let record = Record {
            bench: Case::Bandwidth,
            provider: "efa".into(),
            ranks: 2,
            algorithm: None,
            dtype: None,
            op: None,
            size: 4096,
            iterations: 1,
            time_us: None,
            mb_per_s: Some(1152.96),
            messages_per_s: None,
            collective: None,
            count: 0,
            in_place: None,
        };
        Measured {
            job: job.expect("a host"),
            cases: vec![(Case::Bandwidth, vec![record])],
            between: None,
            others: Others::default(),
            instance_type: instance_type.map(str::to_owned),
            wrong: 0,
        }
    }

    fn published(instance_type: Option<&str>, is_comparable: bool) -> String {
        let mut page = Page::new("");
        publications(&mut page, &measured(instance_type), is_comparable);
        page.to_markdown()
    }

    #[test]
    fn published_figures_stand_beside_ours_if_these_are_of_a_real_efa() {
        let page = published(Some("c5n.18xlarge"), true);
        assert!(page.contains("| 4 KiB | 1153 | 2306 | 0.50 |"), "{page}");
        let page = published(Some("c5n.18xlarge"), false);
        assert!(page.contains("| 4 KiB |  | 2306 |  |"), "{page}");
    }

    #[test]
    fn where_nothing_is_published_the_page_says_so() {
        assert!(published(Some("c7gn.16xlarge"), true).contains("no published figures for c7gn.16xlarge"));
        assert!(published(None, true).contains("There are none to compare with"));
    }
}
