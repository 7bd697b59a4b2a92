//! The options of `efa doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use efa_admission::{Policy, ProviderChoice};

/// The options of `efa doctor`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa doctor [--members FILE [--only NAME] [--for N]] [--security-groups FILE] [--policy P] [--provider P] [--plot FILE.svg] [--json|--script|--format F|--watch S]",
    after_help = "\
Without --members it judges and checks this host or, started by a launcher, all ranks of the job together: then
every rank also sends to every other, and rank 0 prints one report with the matrix of pairs. The members file
lists each member's rank, instance_id and interfaces; the security groups file is what
'aws ec2 describe-security-groups --output json' prints.

Exit status: 0 admitted; 1 refused, a rule is broken or a pair is closed; 3 no rule is known to be broken, but
something could not be determined; 2 for a wrong command line or a file that cannot be read.

Examples:
  efa doctor
  efa run --no-prefix -n 4 -- efa doctor     CLICOLOR_FORCE=1 colours it
  efa doctor --provider efa --json
  efa doctor --members job.json --security-groups sg.json --policy same-zone
  efa doctor --members cluster.yaml --only train --for 16 --plot job.svg"
)]
pub(crate) struct DoctorArgs {
    /// The members of the job: a members file; what 'aws ec2 describe-instances', 'describe-network-interfaces',
    /// 'describe-launch-template-versions' or 'terraform show -json' prints; a CloudFormation template; a configuration
    /// of AWS ParallelCluster 3, Karpenter or eksctl
    #[arg(long, value_name = "FILE")]
    pub(crate) members: Option<PathBuf>,
    /// Judge only what this is the name of in the file: a queue, node group or resource
    #[arg(long, value_name = "NAME", requires = "members")]
    pub(crate) only: Option<String>,
    /// Judge N copies of the one kind of instance that the file describes, such as a launch template
    #[arg(long = "for", value_name = "N", requires = "members")]
    pub(crate) copies: Option<usize>,
    /// The rules of their security groups, as the AWS command line prints them
    #[arg(long, value_name = "FILE")]
    pub(crate) security_groups: Option<PathBuf>,
    /// How far apart members may be: strict (one subnet), same-zone (one zone of one VPC), tcp-across-subnets
    /// (strict, but tcp may do without EFA), mutual-groups (groups that let each other in and out will do), or several
    /// with commas between [default: EFA_POLICY, else strict]
    #[arg(long, value_name = "P")]
    pub(crate) policy: Option<Policy>,
    /// What the job will use: auto, efa (judged more closely), shm, tcp or sockets [default: in a job EFA_PROVIDER,
    /// else auto]
    #[arg(long, value_name = "P")]
    pub(crate) provider: Option<ProviderChoice>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw members, network cards, subnets and groups as a picture, with what is wrong marked
    #[arg(long, value_name = "FILE.svg", conflicts_with = "watch")]
    pub(crate) plot: Option<PathBuf>,
    /// Judge again every S seconds (1 to 3600) and print what has changed, with the time, until it is interrupted
    #[arg(long, value_name = "S", value_parser = parse_interval, conflicts_with_all = ["json", "script", "format"])]
    pub(crate) watch: Option<Duration>,
    /// All remedies as one shell script instead: checks that only read, then changes, with --dry-run unless APPLY=1
    #[arg(long, conflicts_with = "json")]
    pub(crate) script: bool,
    /// How to print the findings for a pipeline: sarif (2.1.0) or junit
    #[arg(long, value_name = "F", conflicts_with_all = ["json", "script"])]
    pub(crate) format: Option<ReportFormat>,
}

/// A form of the findings that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// Static Analysis Results Interchange Format 2.1.0
    Sarif,
    /// JUnit's XML
    Junit,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("an interval goes from 1 to 3600 seconds".into()),
    }
}
