//! A job whose members have met and been judged: [`Judged`].

use super::Init;
use super::introduction::{Introduction, parse, sharers};
use super::job_report::JobReport;
use super::path;
use crate::admission::{Facts, Lookup, Report, SecurityGroups};
use crate::bootstrap::Control;
use crate::collective::Communicator;
use crate::endpoint::{Endpoint, PeerAddress};
use crate::error::{Error, Result};
use crate::fabric::Provider;

/// A job whose members have met and been judged, and that has nothing open yet: what [`Init::judge`] gives.
#[derive(Debug)]
pub struct Judged {
    pub(super) init: Init,
    pub(super) control: Control,
    pub(super) members: Vec<Introduction>,
    pub(super) provider: Provider,
    pub(super) report: Report,
    pub(super) lookup: Lookup,
}

impl Judged {
    /// The verdict; byte for byte the same at all ranks.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The facts that it was made from, by rank.
    pub fn members(&self) -> impl Iterator<Item = &Facts> {
        self.members.iter().map(|member| &member.facts)
    }

    /// Returns the rules of the job's security groups, as rank 0 has looked them up, or why they are not known.
    pub fn rules(&self) -> &SecurityGroups {
        self.lookup.rules()
    }

    /// The provider that the job would use.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The connection to the other members.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Opens this rank's endpoint and connects it to the others, without trying whether messages get through: for
    /// programs that try that themselves, as `efa doctor` does. All ranks must call it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the job is not admitted; [`Error::Provider`] and [`Error::Fabric`] when the endpoint can't
    /// be opened.
    pub fn open(&self) -> Result<Endpoint> {
        let admission = self.report.admit()?;
        let (init, control) = (&self.init, &self.control);
        let mut config = init.endpoint.clone().provider(self.provider);
        config.local_ranks = sharers(&self.members, control.rank());
        config.source = config.source.or(Some(control.local_address()));
        config.secret = Some(control.secret().clone());
        let opened = Endpoint::open(&admission, config)?;
        control.agree("the provider and its protocol", &opened.protocol(), init.arrival)?;
        let mine = opened.peer_address(&self.members[control.rank()].facts);
        let mine = serde_json::to_vec(&mine).expect("an address is plain data");
        let all = control.exchange("endpoint addresses", &mine, init.arrival)?;
        let peer_addresses: Vec<PeerAddress> =
            all.iter().enumerate().map(|(rank, wire)| parse(rank, wire)).collect::<Result<_>>()?;
        opened.connect(control.rank(), peer_addresses, control.liveness())
    }

    /// Leaves the job in good order without having joined it, when all ranks do so.
    pub fn leave(self) {
        self.control.leave();
    }

    /// Opens the endpoint, tries the path to the neighbours, and returns the communicator.
    ///
    /// # Errors
    /// As [`init`](super::init).
    pub fn join(self) -> Result<Communicator> {
        match self.connect() {
            Ok(endpoint) => {
                let report = self.job_report(endpoint.device());
                if self.control.rank() == 0 {
                    log::info!("{report}");
                } else {
                    log::debug!("{report}");
                }
                Communicator::new(endpoint, self.control, report, self.init.leave)
            }
            Err(error) => Err(self.give_up(error)),
        }
    }

    fn job_report(&self, device: String) -> JobReport {
        JobReport::new(self.init.provider, self.provider, device, &self.members, self.report.clone())
    }

    fn connect(&self) -> Result<Endpoint> {
        let endpoint = self.open()?;
        let patience = self.init.path.saturating_add(self.init.arrival);
        let closed = path::try_neighbours(&self.control, &endpoint, self.init.path, patience)?;
        if closed.is_empty() {
            endpoint.forget_name();
            return Ok(endpoint);
        }
        endpoint.abandon("the job was refused");
        let facts: Vec<Facts> = self.members().cloned().collect();
        let report = self.report.clone().with_closed_paths(&facts, &closed);
        Err(report.admit().expect_err("a closed path refuses the job"))
    }

    /// Leaves the job with an error, which people are to read once: where all ranks have come to the same refusal,
    /// rank 0 tells it.
    fn give_up(self, error: Error) -> Error {
        let Error::Refused { undetermined, .. } = error else {
            self.control.give_up(&error);
            return error;
        };
        if self.control.rank() == 0 {
            return error;
        }
        self.control.let_speak(0);
        Error::refused_elsewhere(undetermined, self.control.peers()[0].clone())
    }
}
