//! The order in which libraries are tried.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{BUILT_IN, Reason, Skipped, Unusable};

/// What the choice depends on.
pub(super) struct Circumstances {
    /// The value of `EFA_LIBFABRIC`.
    pub(super) named: Option<OsString>,
    /// Whether the host has an EFA.
    pub(super) has_efa: bool,
    /// Whether a library is built in.
    pub(super) built_in: bool,
    /// Whether the library that is built in has the efa provider.
    pub(super) built_in_has_efa: bool,
    /// The files of the libraries that this process has loaded already.
    pub(super) loaded: Vec<PathBuf>,
}

/// A library to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The one that is built in.
    BuiltIn,
    /// A shared library that is loaded already.
    Loaded(PathBuf),
    /// A shared library in a file.
    File(PathBuf),
    /// A shared library that the dynamic loader looks for by this name.
    Name(&'static str),
}

impl Candidate {
    fn name(&self) -> String {
        match self {
            Self::BuiltIn => BUILT_IN.into(),
            Self::Loaded(file) | Self::File(file) => file.display().to_string(),
            Self::Name(name) => (*name).into(),
        }
    }

    fn skipped(&self, why: impl Into<String>) -> Skipped {
        Skipped { library: self.name(), why: why.into() }
    }
}

/// Why a candidate can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The candidate could be used, but has no efa provider that finds a device.
    NoEfa(String),
    /// Any other reason.
    Other(String),
}

/// Where AWS's installer puts its libfabric, by distribution.
const AWS: [&str; 2] = ["/opt/amazon/efa/lib64/libfabric.so.1", "/opt/amazon/efa/lib/libfabric.so.1"];

const SYSTEM: Candidate = Candidate::Name("libfabric.so.1");

/// Tries libraries in their order and returns the first that `open` accepts. The second argument of `open` tells whether
/// the library must have an efa provider that finds a device.
///
/// No two libraries of one process open an EFA: where the host has one, a library that is loaded already is used. If that
/// library can't be used, no other that has the efa provider is tried.
pub(super) fn choose<T>(
    circumstances: &Circumstances,
    mut open: impl FnMut(&Candidate, bool) -> Result<T, Unfit>,
) -> Result<(T, Reason, Vec<Skipped>), Unusable> {
    let Circumstances { named, has_efa, built_in, built_in_has_efa, loaded } = circumstances;
    if let Some(named) = named {
        let candidate = match named.to_str() {
            Some(BUILT_IN) => Candidate::BuiltIn,
            // Without a slash the dynamic loader would search for a library of this name.
            _ => Candidate::File(Path::new(".").join(named)),
        };
        let has_efa_provider = candidate != Candidate::BuiltIn || *built_in_has_efa;
        let found = match loaded.iter().find(|loaded| !is_same_file(loaded, named.as_ref())) {
            Some(other) if *has_efa && has_efa_provider => Err(would_be_second(other)),
            _ => open(&candidate, false).map_err(|unfit| unfit.why()),
        };
        let named = named.to_string_lossy().into_owned();
        return found.map(|opened| (opened, Reason::Named, Vec::new())).map_err(|why| Unusable {
            looked_for: vec![Skipped { library: named.clone(), why }],
            named: Some(named),
        });
    }

    let mut skipped = Vec::new();
    // The library that is loaded, can't be used, and may have opened the EFA.
    let mut in_the_way = None;
    if *has_efa {
        for file in loaded {
            let candidate = Candidate::Loaded(file.clone());
            match open(&candidate, true) {
                Ok(opened) => return Ok((opened, Reason::Loaded, skipped)),
                Err(unfit) => {
                    if matches!(unfit, Unfit::Other(_)) {
                        in_the_way = Some(file);
                    }
                    skipped.push(candidate.skipped(unfit.why()));
                }
            }
        }
    }
    let aws = AWS.map(|file| (Candidate::File(file.into()), Reason::Aws, true));
    let mut candidates = Vec::new();
    if *has_efa {
        candidates.extend(aws);
        candidates.push((SYSTEM, Reason::System, true));
    }
    if *built_in {
        let reason = if *has_efa { Reason::OthersUnfit } else { Reason::NoEfa };
        candidates.push((Candidate::BuiltIn, reason, false));
    } else {
        candidates.push((SYSTEM, Reason::NoneBuiltIn, false));
    }
    for (candidate, reason, needs_efa) in candidates {
        let may_open_efa = candidate != Candidate::BuiltIn || *built_in_has_efa;
        let opened = match in_the_way {
            Some(other) if may_open_efa => Err(would_be_second(other)),
            _ => open(&candidate, needs_efa).map_err(Unfit::why),
        };
        match opened {
            Ok(opened) => return Ok((opened, reason, skipped)),
            Err(why) => skipped.push(candidate.skipped(why)),
        }
    }
    Err(Unusable { named: None, looked_for: skipped })
}

impl Unfit {
    fn why(self) -> String {
        match self {
            Self::NoEfa(why) | Self::Other(why) => why,
        }
    }
}

fn would_be_second(loaded: &Path) -> String {
    format!("another libfabric is loaded in this process ({}), and both would open the EFA", loaded.display())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Circumstances = Circumstances {
        named: None,
        has_efa: false,
        built_in: true,
        built_in_has_efa: false,
        loaded: Vec::new(),
    };

    /// Tries to choose where only the libraries in `fit` can be used. Returns the chosen library's name and the reason, or
    /// the error, and the names of all that were tried.
    fn chosen(
        circumstances: &Circumstances,
        fit: &[&str],
    ) -> (Result<(String, Reason), Unusable>, Vec<String>) {
        let mut tried = Vec::new();
        let result = choose(circumstances, |candidate, needs_efa| {
            let name = candidate.name();
            tried.push(format!("{name}{}", if needs_efa { " with efa" } else { "" }));
            match fit.contains(&name.trim_start_matches("./")) {
                true => Ok(name),
                false if name.contains("without-efa") => Err(Unfit::NoEfa("no efa".into())),
                false => Err(Unfit::Other("unfit".into())),
            }
        });
        (result.map(|(name, reason, _)| (name, reason)), tried)
    }

    fn good(circumstances: &Circumstances, fit: &[&str]) -> (String, Reason) {
        chosen(circumstances, fit).0.expect("a library")
    }

    #[test]
    fn without_an_efa_the_built_in_library_is_used_and_else_the_systems() {
        assert_eq!(good(&PLAIN, &["builtin", "libfabric.so.1"]), ("builtin".into(), Reason::NoEfa));
        let slim = Circumstances { built_in: false, ..PLAIN };
        assert_eq!(
            good(&slim, &["builtin", "libfabric.so.1"]),
            ("libfabric.so.1".into(), Reason::NoneBuiltIn)
        );
        let loaded = Circumstances { loaded: vec!["/plugin/libfabric.so.1".into()], ..PLAIN };
        assert_eq!(good(&loaded, &["builtin", "/plugin/libfabric.so.1"]), ("builtin".into(), Reason::NoEfa));
    }

    #[test]
    fn with_an_efa_aws_comes_first_then_the_system_then_the_built_in() {
        let host = Circumstances { has_efa: true, ..PLAIN };
        let all = [AWS[0], AWS[1], "libfabric.so.1", "builtin"];
        let reasons = [Reason::Aws, Reason::Aws, Reason::System, Reason::OthersUnfit];
        for (place, reason) in reasons.into_iter().enumerate() {
            assert_eq!(good(&host, &all[place..]), (all[place].to_owned(), reason));
        }
        let (result, tried) = chosen(&host, &[]);
        let [lib64, lib, system] = [AWS[0], AWS[1], "libfabric.so.1"].map(|name| format!("{name} with efa"));
        assert_eq!(tried, [lib64, lib, system, "builtin".into()]);
        assert_eq!(result.unwrap_err().looked_for.len(), 4);
        let slim = Circumstances { has_efa: true, built_in: false, ..PLAIN };
        assert_eq!(chosen(&slim, &[]).1[3], "libfabric.so.1");
    }

    #[test]
    fn with_an_efa_a_library_that_is_loaded_already_is_used() {
        let host = Circumstances { has_efa: true, loaded: vec!["/plugin/libfabric.so.1".into()], ..PLAIN };
        let all = ["/plugin/libfabric.so.1", AWS[0], "builtin"];
        assert_eq!(good(&host, &all), ("/plugin/libfabric.so.1".into(), Reason::Loaded));
    }

    #[test]
    fn a_loaded_library_without_efa_is_passed_over() {
        let loaded = vec!["/without-efa/libfabric.so.1".into()];
        let host = Circumstances { has_efa: true, loaded, ..PLAIN };
        assert_eq!(good(&host, &[AWS[1]]), (AWS[1].into(), Reason::Aws));
    }

    #[test]
    fn no_second_library_opens_an_efa() {
        let loaded = vec![PathBuf::from("/old/libfabric.so.1")];
        let host = Circumstances { has_efa: true, loaded: loaded.clone(), ..PLAIN };
        let all = [AWS[0], "libfabric.so.1", "builtin"];
        assert_eq!(good(&host, &all), ("builtin".into(), Reason::OthersUnfit));

        let with_efa =
            Circumstances { has_efa: true, built_in_has_efa: true, loaded: loaded.clone(), ..PLAIN };
        let (result, tried) = chosen(&with_efa, &all);
        assert!(result.unwrap_err().to_string().contains("/old/libfabric.so.1"));
        assert_eq!(tried, ["/old/libfabric.so.1 with efa"]);

        for named in ["builtin", "/other/libfabric.so.1"] {
            let named = Some(named.into());
            let (result, tried) = chosen(
                &Circumstances {
                    named,
                    has_efa: true,
                    built_in_has_efa: true,
                    loaded: loaded.clone(),
                    ..PLAIN
                },
                &["builtin", "/other/libfabric.so.1"],
            );
            assert!(result.unwrap_err().to_string().contains("both would open the EFA"));
            assert_eq!(tried, Vec::<String>::new());
        }
    }

    #[test]
    fn a_library_that_is_named_is_used_or_an_error() {
        let named = |name: &str, has_efa| Circumstances {
            named: Some(name.into()),
            has_efa,
            built_in: true,
            ..PLAIN
        };
        for has_efa in [false, true] {
            let fit = ["/other/libfabric.so.1", "here.so", "builtin", AWS[0]];
            for (name, path) in [
                ("/other/libfabric.so.1", "/other/libfabric.so.1"),
                ("here.so", "./here.so"),
                ("builtin", "builtin"),
            ] {
                assert_eq!(good(&named(name, has_efa), &fit), (path.into(), Reason::Named));
            }
            let (result, tried) = chosen(&named("/missing.so", has_efa), &fit);
            let error = result.unwrap_err();
            assert_eq!(error.named.as_deref(), Some("/missing.so"));
            assert_eq!(error.to_string(), "/missing.so: unfit");
            assert_eq!(tried, ["/missing.so"]);
        }
    }
}
