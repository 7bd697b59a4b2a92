//! What the simulator assumes about processors and links.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The costs of a machine or network. GB/s are decimal: one byte in a nanosecond.
///
/// Ranks are placed on nodes in order, as many on each. Ranks of one node reach each other directly; to others they
/// share the node's link, which moves as much in each direction at the same time. A rank does one thing at a time:
/// handle a message, reduce or copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Microseconds that the first byte of a message takes to another node.
    pub latency_us: f64,
    /// What a node's link moves in each direction.
    pub bandwidth_gb_per_s: f64,
    /// Microseconds that a rank spends on each message it sends, and on each it receives.
    pub per_message_us: f64,
    /// How fast a rank reduces, in bytes of the result.
    pub reduce_gb_per_s: f64,
    /// How fast a rank copies, in bytes of the copy.
    pub copy_gb_per_s: f64,
    /// How many ranks share a node.
    pub ranks_per_node: usize,
    /// Microseconds that the first byte of a message takes to another rank of the same node.
    pub intra_latency_us: f64,
    /// What one rank moves in each direction inside a node.
    pub intra_bandwidth_gb_per_s: f64,
    /// Messages longer than this wait for their receive and a further latency before they move.
    pub eager_bytes: usize,
    /// How many sends, and how many receives, a rank has under way at a time.
    pub in_flight: usize,
}

/// The profiles that have a name. Round numbers to compare algorithms by, not measurements of a product.
const NAMED: [(&str, Profile); 4] = [
    // One host, through shared memory.
    (
        "shm",
        Profile {
            latency_us: 0.5,
            bandwidth_gb_per_s: 10.0,
            per_message_us: 0.2,
            reduce_gb_per_s: 8.0,
            copy_gb_per_s: 10.0,
            ranks_per_node: usize::MAX,
            intra_latency_us: 0.5,
            intra_bandwidth_gb_per_s: 10.0,
            eager_bytes: 4096,
            in_flight: 64,
        },
    ),
    // One host, tcp through the loopback interface.
    (
        "tcp",
        Profile {
            latency_us: 5.0,
            bandwidth_gb_per_s: 4.0,
            per_message_us: 1.0,
            reduce_gb_per_s: 8.0,
            copy_gb_per_s: 10.0,
            ranks_per_node: 1,
            intra_latency_us: 5.0,
            intra_bandwidth_gb_per_s: 4.0,
            eager_bytes: 64 << 10,
            in_flight: 64,
        },
    ),
    // Instances with one adapter of 100 Gbit/s, one rank on each.
    (
        "efa-100g",
        Profile {
            latency_us: 15.0,
            bandwidth_gb_per_s: 12.5,
            per_message_us: 0.5,
            reduce_gb_per_s: 8.0,
            copy_gb_per_s: 10.0,
            ranks_per_node: 1,
            intra_latency_us: 0.5,
            intra_bandwidth_gb_per_s: 10.0,
            eager_bytes: 8192,
            in_flight: 64,
        },
    ),
    // Accelerator instances: eight ranks share 3200 Gbit/s, reduce on the accelerator and reach each other directly.
    (
        "efa-3200g",
        Profile {
            latency_us: 15.0,
            bandwidth_gb_per_s: 400.0,
            per_message_us: 1.0,
            reduce_gb_per_s: 1000.0,
            copy_gb_per_s: 1500.0,
            ranks_per_node: 8,
            intra_latency_us: 3.0,
            intra_bandwidth_gb_per_s: 400.0,
            eager_bytes: 8192,
            in_flight: 64,
        },
    ),
];

impl Profile {
    /// The names that [`named`](Self::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// A profile by its name.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown name; it lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, profile)| profile.clone()).ok_or_else(|| {
            Error::setting(
                format!("cannot simulate with profile '{name}'"),
                "there is none of that name",
                format!("choose one of {}, or give a file", Self::names().collect::<Vec<_>>().join(", ")),
            )
        })
    }

    /// Reads a profile from JSON, an object with all fields.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is no such object or [`check`](Self::check) refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        let profile: Self = serde_json::from_str(text).map_err(|reason| {
            Error::setting("cannot read the profile", reason.to_string(), "write all fields, each once")
        })?;
        profile.check()?;
        Ok(profile)
    }

    /// Refuses costs that are negative or not finite, speeds that are not above zero, and counts of zero.
    ///
    /// # Errors
    /// [`Error::Setting`] names the field.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, rule: &str| {
            Err(Error::setting("cannot simulate with this profile", format!("{field} {rule}"), "correct it"))
        };
        let times = [
            ("latency_us", self.latency_us),
            ("per_message_us", self.per_message_us),
            ("intra_latency_us", self.intra_latency_us),
        ];
        let speeds = [
            ("bandwidth_gb_per_s", self.bandwidth_gb_per_s),
            ("reduce_gb_per_s", self.reduce_gb_per_s),
            ("copy_gb_per_s", self.copy_gb_per_s),
            ("intra_bandwidth_gb_per_s", self.intra_bandwidth_gb_per_s),
        ];
        if let Some((field, _)) = times.iter().find(|(_, time)| !time.is_finite() || *time < 0.0) {
            return refuse(field, "is negative or not a number");
        }
        if let Some((field, _)) = speeds.iter().find(|(_, speed)| !speed.is_finite() || *speed <= 0.0) {
            return refuse(field, "is not above zero");
        }
        if self.ranks_per_node == 0 {
            return refuse("ranks_per_node", "is zero");
        }
        if self.in_flight == 0 {
            return refuse("in_flight", "is zero");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{predict, schedules};
    use super::*;
    use crate::collective::{Call, Collective, Options};

    #[test]
    fn fuzz_profiles_are_refused_or_good_for_a_prediction() {
        let call = Call::new(Collective::AllReduce, 0, 4, 100);
        let schedules = schedules(&call, 4, &Options::default()).unwrap();
        let profiles: Vec<serde_json::Value> = NAMED
            .iter()
            .map(|(name, _)| serde_json::to_value(Profile::named(name).unwrap()).unwrap())
            .collect();
        efa_fuzz::rounds("profiles", 3_000, |random| {
            let profile = random.pick(&profiles);
            let json = random.mutate_json(profile).to_string();
            let json = if random.below(3) == 0 { random.mutate_text(&json) } else { json };
            match Profile::from_json(&json) {
                Ok(profile) => drop(predict(&schedules, 4, &profile)),
                Err(error) => assert!(matches!(error, Error::Setting(_)), "{error}"),
            }
        });
    }

    #[test]
    fn every_named_profile_makes_sense_and_survives_json() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(Profile::from_json(&json).unwrap(), profile);
        }
        assert!(Profile::named("fast").unwrap_err().to_string().contains("efa-100g"));
    }

    #[test]
    fn files_that_make_no_sense_are_refused() {
        let good = serde_json::to_string(&Profile::named("tcp").unwrap()).unwrap();
        for (from, to) in [
            ("\"latency_us\":5.0", "\"latency_us\":-5.0"),
            ("\"bandwidth_gb_per_s\":4.0", "\"bandwidth_gb_per_s\":0"),
            ("\"in_flight\":64", "\"in_flight\":0"),
            ("\"ranks_per_node\":1", "\"ranks_per_node\":0"),
            ("\"latency_us\":5.0,", ""),
            ("{", "{\"speed\":1,"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(matches!(Profile::from_json(&bad), Err(Error::Setting(_))), "{bad}");
        }
    }
}
