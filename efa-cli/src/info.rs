//! `efa info`: the libfabric in use, its devices and limits, and what this host would be admitted as.

use std::io;
use std::process::ExitCode;

use clap::Args;
use efa_core::admission::{Policy, Report};
use efa_core::bootstrap::{Job, Launcher};
use efa_core::fabric::{self, Library, Offer, ProviderChoice};
use efa_core::{Error, JobReport, Result};
use serde::Serialize;

use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::stdout;
use crate::terminal::wants_colour;

/// The options of `efa info`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa info [--json]",
    after_help = "\
Lists every device that efa, shm, tcp and sockets can use here. What a provider lacks can't be seen: if efa
is missing, 'efa doctor --provider efa' says why.

Examples:
  efa info
  efa info --json | jq '.devices[].device'"
)]
pub(crate) struct InfoArgs {
    /// One JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `efa info` tells, in the order in which JSON shows it.
#[derive(Serialize)]
pub(crate) struct Info {
    libfabric: Library,
    devices: Vec<Offer>,
    /// Which launcher started this process, and as which rank.
    launcher: String,
    /// What carries the data of a job on this host; null where that can't be told.
    job: Option<JobReport>,
    /// Null where the facts could not be had.
    admission: Option<Report>,
    /// Why they could not be had.
    #[serde(skip)]
    unknown: Option<Error>,
}

/// Prints what is here.
pub(crate) fn info(args: &InfoArgs) -> Result<ExitCode, Failure> {
    let info = Info::of_this_host()?;
    if args.json {
        stdout::print_json(&info)?;
    } else {
        stdout::print(&info.to_text(wants_colour(&io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what carries the data of a job on this host, and whether the host is admitted.
fn report() -> Result<JobReport> {
    JobReport::of_this_host(ProviderChoice::from_env()?, &Policy::from_env()?)
}

/// Returns which launcher is recognised, or what keeps that from being told.
fn launcher() -> String {
    match Job::from_env() {
        Ok(Job { note: Some(note), .. }) => format!("none: {note}"),
        Ok(Job { launcher: Launcher::Alone, .. }) => "none: a job of one".into(),
        Ok(Job { launcher, rank, size, rendezvous, .. }) => {
            let meeting = rendezvous.map_or(String::new(), |place| format!(", meeting at {place}"));
            format!("{launcher}: rank {rank} of {size}{meeting}")
        }
        Err(error) => format!("unknown: {error}"),
    }
}

impl Info {
    /// Looks at this host.
    pub(crate) fn of_this_host() -> Result<Self> {
        let devices = fabric::offers()?;
        let (job, unknown) = match report() {
            Ok(report) => (Some(report), None),
            Err(error) => (None, Some(error)),
        };
        let admission = job.as_ref().map(|job| job.admission.clone());
        Ok(Self { libfabric: fabric::library()?, devices, launcher: launcher(), job, admission, unknown })
    }

    /// Returns it for people.
    pub(crate) fn to_text(&self, coloured: bool) -> String {
        let mut text = format!("libfabric {}\n", self.libfabric);
        for skipped in &self.libfabric.skipped {
            text += &format!("  not used: {skipped}\n");
        }
        text.push('\n');
        text += &table(&self.devices);
        text += &format!("\nlauncher {}\n", self.launcher);
        match (&self.job, &self.unknown) {
            (Some(job), _) => {
                text +=
                    &format!("a job here: {job}\n\nthis host alone: {}", job.admission.to_table(coloured));
            }
            (None, Some(error)) => text += &format!("this host alone: unknown, {error}\n"),
            (None, None) => {}
        }
        text
    }
}

/// Columns as wide as what they hold; numbers to the right.
fn table(devices: &[Offer]) -> String {
    let heading =
        ["provider", "version", "device", "fabric", "link", "max message", "inject", "in flight", "atomics"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(devices.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column < FIRST_NUMBER { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// From this column on there are numbers.
const FIRST_NUMBER: usize = 4;

fn row(offer: &Offer) -> [String; 9] {
    let limits = &offer.limits;
    [
        offer.provider.to_string(),
        offer.provider_version.clone(),
        offer.device.clone(),
        offer.fabric.clone(),
        offer.link_speed.map_or("-".into(), |bits| format!("{} Gbit/s", bits as f64 / 1e9)),
        message_size(limits.max_message_size),
        Bytes(limits.inject_size as u64).to_string(),
        limits.send_depth.to_string(),
        if limits.atomics { "yes" } else { "no" }.into(),
    ]
}

/// Providers without a limit of their own give the largest number there is.
fn message_size(bytes: usize) -> String {
    if bytes as u64 >= 1 << 48 { "unlimited".into() } else { Bytes(bytes as u64).to_string() }
}
