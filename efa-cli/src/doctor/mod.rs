//! `efa doctor`: judges the host, the job that it is started in, or one that files describe.

mod checks;
mod host;
mod job;
mod machine;
mod matrix;
mod pairs;
mod picture;
mod pipeline;
mod template;
mod watch;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use efa_core::admission::source::{self, file};
use efa_core::admission::{Facts, Lookup, Policy, Report, Site};
use efa_core::bootstrap::{Job, Launcher};
use efa_core::fabric::{Provider, ProviderChoice};
use efa_core::{Error, this_member};
use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::failure::{EXIT_USAGE, Failure, colourful};
use crate::stdout;
use host::Host;
use matrix::Matrix;
use picture::Target;

/// The status that says that something could not be determined.
const EXIT_UNDETERMINED: u8 = 3;

/// What is told; in this order as JSON.
#[derive(Serialize)]
struct Diagnosis {
    #[serde(flatten)]
    report: Report,
    /// What the ranks of a job would use; the report names it as well.
    #[serde(skip)]
    provider: Option<Provider>,
    /// The state of the hosts; absent where files describe the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<Host>>,
    /// Which pairs of a job were tried, and what came of it; absent where none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<Matrix>,
}

/// Prints the report and exits as it says: 0 admitted, 1 refused, 3 undetermined.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let job = Job::from_env()?;
    if let Some(interval) = args.watch {
        if job.launcher != Launcher::Alone {
            return Err(Failure::from(Error::setting(
                "cannot use --watch among the ranks of a job",
                "it goes on until it is interrupted, and the job would wait for it",
                "start it beside the job, on one host or with --members",
            )));
        }
        return watch::watch(interval, || match &args.members {
            Some(path) => judge_file(args, path).map(|it| it.report),
            None => judge_this_host(args).map(|it| it.report),
        });
    }
    // A path that can't be written to must not cost a whole judgement. All ranks of a job would draw the same.
    let target = args.plot.as_deref().filter(|_| job.rank == 0).map(Target::open).transpose()?;
    let (judged, hosts) = match &args.members {
        Some(path) => (judge_file(args, path)?, None),
        None if job.launcher == Launcher::Alone => {
            let hosts = host::group(vec![(host::name(), Some(host::State::of_this_host(1)))]);
            (judge_this_host(args)?, Some(hosts))
        }
        None => return job::doctor(args, target),
    };
    let Judged { report, members, lookup } = judged;
    if let Some(target) = target {
        target.draw(&report, &members, Some(lookup.rules()))?;
    }
    let diagnosis = Diagnosis { report, provider: None, hosts, pairs: None };
    // All ranks of a job would say the same.
    if job.rank == 0 { tell(args, &diagnosis) } else { Ok(status(&diagnosis)) }
}

/// Rules that nothing is judged by are a mistake: whoever gives them believes that they count.
fn reject_unused_rules(args: &DoctorArgs, site: Site) -> Result<(), Failure> {
    match &args.security_groups {
        Some(path) if site == Site::Host => Err(Failure::from(Error::setting(
            format!("cannot use --security-groups {}", path.display()),
            "this host is not on EC2, where there are no security groups, so the file would count for nothing",
            "leave the option out, or give the members of a job on EC2 with --members",
        ))),
        _ => Ok(()),
    }
}

/// A verdict with what it was reached by.
struct Judged {
    report: Report,
    members: Vec<Facts>,
    lookup: Lookup,
}

/// The job that a file describes. Status 1 means "refused", so no other failure may look like it.
fn judge_file(args: &DoctorArgs, path: &Path) -> Result<Judged, Failure> {
    let usage = |error| Failure::new(error, EXIT_USAGE);
    let mut described = file::read_described(path, args.only.as_deref()).map_err(usage)?;
    if let Some(count) = args.copies {
        described.members = template::copies(&described, count)?;
    }
    let lookup = source::look_up_described(&described, args.security_groups.as_deref()).map_err(usage)?;
    let mut judged = judge(args, described.members, lookup)?;
    judged.report = judged.report.with_notes(described.notes);
    if described.is_plan {
        judged.report = judged.report.for_a_plan();
    }
    Ok(judged)
}

fn judge_this_host(args: &DoctorArgs) -> Result<Judged, Failure> {
    let me = this_member(0, None).map_err(|error| Failure::new(error, EXIT_UNDETERMINED))?;
    reject_unused_rules(args, me.site)?;
    let lookup = source::look_up(std::slice::from_ref(&me), args.security_groups.as_deref())
        .map_err(|error| Failure::new(error, EXIT_USAGE))?;
    judge(args, vec![me], lookup)
}

fn judge(args: &DoctorArgs, mut members: Vec<Facts>, lookup: Lookup) -> Result<Judged, Failure> {
    let (choice, policy) = (provider(args)?, policy(args)?);
    let policy = match choice {
        ProviderChoice::Auto => policy,
        ProviderChoice::Only(Provider::Efa) => policy.requires_efa(true),
        ProviderChoice::Only(_) => policy.uses_tcp(true),
    };
    let report = lookup.evaluate(&members, &policy).with_provider(choice.to_string());
    lookup.complete(&mut members);
    Ok(Judged { report, members, lookup })
}

/// The provider asked for: by option, else by the environment.
fn provider(args: &DoctorArgs) -> Result<ProviderChoice, Error> {
    args.provider.map_or_else(ProviderChoice::from_env, Ok)
}

/// The policy: by option, else by the environment.
fn policy(args: &DoctorArgs) -> Result<Policy, Error> {
    args.policy.clone().map_or_else(Policy::from_env, Ok)
}

fn tell(args: &DoctorArgs, diagnosis: &Diagnosis) -> Result<ExitCode, Failure> {
    if let Some(format) = args.format {
        stdout::print(&pipeline::text(&diagnosis.report, format))?;
    } else if args.script {
        stdout::print(&diagnosis.report.to_script())?;
    } else if args.json {
        stdout::print_json(diagnosis)?;
    } else {
        stdout::print(&diagnosis.to_table(colourful(&io::stdout())))?;
    }
    Ok(status(diagnosis))
}

fn status(diagnosis: &Diagnosis) -> ExitCode {
    ExitCode::from(diagnosis.report.exit_status())
}

impl Diagnosis {
    fn to_table(&self, coloured: bool) -> String {
        let mut text = self.report.to_table(coloured);
        if let Some(pairs) = &self.pairs {
            let provider = self.provider.map(|provider| format!(" on {provider}")).unwrap_or_default();
            text += &format!("\n{}", pairs.to_table(&provider, coloured));
        }
        if let Some(hosts) = &self.hosts {
            text += &format!("\n{}", host::to_table(hosts, coloured));
        }
        text
    }
}
