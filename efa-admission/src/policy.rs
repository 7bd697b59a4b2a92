//! How strict the judgement is, and what the job wants to use.

use std::fmt;
use std::str::FromStr;

use efa_error::{Error, Result};

/// How strictly a job is judged, and for what.
///
/// The default is the strict policy for tcp and shm. A job that wants EFA says so with
/// [`requires_efa`](Self::requires_efa): its members are then judged for that as well, and only then does the
/// admission cover the efa provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    boundary: Boundary,
    provider: Use,
    tcp_across_subnets: bool,
    mutual_groups: bool,
}

/// What the job is known to move its data by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    /// Not known yet: efa where every member has one.
    #[default]
    Any,
    Efa,
    /// tcp between machines, and shared memory or loopback inside of one.
    Tcp,
}

/// How far apart members may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Boundary {
    /// In one subnet.
    #[default]
    Subnet,
    /// In one zone of one VPC.
    Zone,
}

impl Policy {
    /// Demands one subnet for the whole job. AWS guaranteed no more than that for years, and it is the safest choice.
    pub fn strict() -> Self {
        Self::default()
    }

    /// Demands one availability zone and one VPC; different subnets become a warning. This is what AWS says EFA can do
    /// since July 2024.
    pub fn same_zone() -> Self {
        Self { boundary: Boundary::Zone, ..Self::default() }
    }

    /// Returns the policy in the environment variable `EFA_POLICY`, or the strict one.
    ///
    /// # Errors
    /// [`Error::Setting`] when the variable names no policy.
    pub fn from_env() -> Result<Self> {
        efa_error::input::variable("EFA_POLICY").map_or(Ok(Self::strict()), |name| name.parse())
    }

    /// Says whether the job asks for the efa provider. Default: no.
    pub fn requires_efa(mut self, yes: bool) -> Self {
        self.provider = if yes { Use::Efa } else { Use::Any };
        self
    }

    /// Says whether the job is known to use tcp, sockets or shm. Then each member is judged by the interface that the
    /// job binds, and rules that let tcp pass count. Default: no, which judges EFA interfaces where there are any.
    pub fn uses_tcp(mut self, yes: bool) -> Self {
        self.provider = if yes { Use::Tcp } else { Use::Any };
        self
    }

    /// Accepts EFA interfaces in different security groups that each let all traffic of themselves and of the others in
    /// and out; a warning takes the place of the error. AWS documents EFA across groups for FSx for Lustre only.
    pub fn allow_mutual_groups(mut self) -> Self {
        self.mutual_groups = true;
        self
    }

    /// Chooses tcp for a job whose members are in different subnets: a warning that says what it costs takes the
    /// place of the error. Has no effect on a job that asks for EFA, since EFA traffic is not routed.
    pub fn allow_tcp_across_subnets(mut self) -> Self {
        self.tcp_across_subnets = true;
        self
    }

    /// Returns `true` if the job asks for the efa provider.
    pub fn efa(&self) -> bool {
        self.provider == Use::Efa
    }

    /// Returns `true` if the job is known to use tcp, sockets or shm.
    pub fn tcp(&self) -> bool {
        self.provider == Use::Tcp
    }

    /// Returns `true` if groups that let each other in may take the place of one shared group.
    pub(super) fn mutual_groups_pass(&self) -> bool {
        self.mutual_groups
    }

    /// Returns `true` if members in different subnets of one zone pass with a warning.
    pub(super) fn subnets_may_differ(&self) -> bool {
        self.boundary == Boundary::Zone
    }

    /// Returns `true` if tcp across subnets was chosen, and the job can use it.
    pub(super) fn tcp_may_cross_subnets(&self) -> bool {
        self.tcp_across_subnets && !self.efa()
    }
}

/// Its name, as [`FromStr`] reads it.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.boundary == Boundary::Zone, SAME_ZONE),
            (self.tcp_across_subnets, TCP_ACROSS_SUBNETS),
            (self.mutual_groups, MUTUAL_GROUPS),
        ];
        let mut names = names.into_iter().filter_map(|(holds, name)| holds.then_some(name));
        f.write_str(names.next().unwrap_or(STRICT))?;
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}

/// Reads `strict`, `same-zone`, `tcp-across-subnets` (strict, with [`Policy::allow_tcp_across_subnets`]), `mutual-groups`
/// (strict, with [`Policy::allow_mutual_groups`]), or several of them with commas between.
impl FromStr for Policy {
    type Err = Error;

    fn from_str(names: &str) -> Result<Self> {
        let mut policy = Self::strict();
        for name in names.split(',') {
            match name.trim() {
                STRICT => {}
                SAME_ZONE => policy.boundary = Boundary::Zone,
                TCP_ACROSS_SUBNETS => policy.tcp_across_subnets = true,
                MUTUAL_GROUPS => policy.mutual_groups = true,
                other => {
                    return Err(Error::setting(
                        format!("cannot use the policy '{other}'"),
                        "admission knows no policy of that name",
                        format!("use one of {STRICT}, {SAME_ZONE}, {TCP_ACROSS_SUBNETS}, {MUTUAL_GROUPS}"),
                    ));
                }
            }
        }
        Ok(policy)
    }
}

const STRICT: &str = "strict";
const SAME_ZONE: &str = "same-zone";
const TCP_ACROSS_SUBNETS: &str = "tcp-across-subnets";
const MUTUAL_GROUPS: &str = "mutual-groups";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_printed() {
        for name in [
            "strict",
            "same-zone",
            "tcp-across-subnets",
            "same-zone,tcp-across-subnets",
            "mutual-groups",
            "same-zone,tcp-across-subnets,mutual-groups",
        ] {
            assert_eq!(name.parse::<Policy>().unwrap().to_string(), name);
        }
        assert_eq!(" same-zone , strict".parse::<Policy>().unwrap(), Policy::same_zone());
        for nonsense in ["", "lax", "same-zone,", "STRICT"] {
            let error = nonsense.parse::<Policy>().unwrap_err().to_string();
            assert!(error.contains("strict, same-zone, tcp-across-subnets"), "{error}");
        }
    }
}
