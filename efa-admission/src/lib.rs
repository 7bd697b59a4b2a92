//! Who may open an endpoint: the facts of a job's members go in, a verdict comes out.
//!
//! An EFA moves data only between interfaces that share a subnet and a security group that lets all traffic in
//! from itself and out to itself. Where that is not so, packets vanish without a word and the job hangs for
//! minutes. So [`evaluate`] judges the job first and says which member breaks which rule and what mends it, and
//! only a job without an error gets the [`Admission`] that an endpoint asks for.
//!
//! This crate contains no libfabric, no C and no unsafe code. `efa_core` re-exports it as `efa_core::admission`.
//!
//! [`evaluate`] is a pure function: all members of a job that hold the same facts see the same [`Report`]. The
//! facts come from one of the [`source`]s.
//!
//! ```no_run
//! use efa_admission::{Policy, SecurityGroups, evaluate, source};
//!
//! // A job of one on this machine, off EC2: one member, reached over loopback.
//! let me = source::host::facts(0, None)?;
//! let report = evaluate(&[me], &SecurityGroups::none(), &Policy::default());
//! print!("{report}");
//! let admission = report.admit()?;
//! assert_eq!(admission.members(), 1);
//! # Ok::<(), efa_admission::Error>(())
//! ```

#![forbid(unsafe_code)]

mod facts;
mod failure;
mod groups;
mod judge;
mod launch;
mod lookup;
mod names;
mod pass;
pub mod placement;
mod policy;
mod provider;
mod remedy;
mod report;
mod script;
pub mod source;
mod table;
mod types;

pub use efa_error::{Error, Result, printable};
pub use facts::{Facts, HostFacts, InterfaceFacts, InterfaceKind, MemberFacts, PlacementFacts, Site};
pub use failure::{ApiFailure, MetadataFailure};
pub use groups::{GroupPair, GroupRules, IpRange, Ipv6Range, Permission, PrefixList, SecurityGroups};
#[doc(hidden)]
pub use judge::CLOSED_EFA_PATH;
pub use judge::{ClosedPath, evaluate};
pub use lookup::Lookup;
pub use names::MemberName;
pub use pass::{Admission, Fingerprint};
pub use policy::Policy;
pub use provider::{Provider, ProviderChoice};
pub use report::{Finding, FindingCode, Report, Severity};
pub use types::most_efas;
