//! Message sizes on the command line: `8:4M`, `8:4M:4`, `64,1M`.

use std::str::FromStr;

use efa_core::Error;

use crate::bytes::Bytes;

/// Largest size that makes sense: beyond it no machine could register the buffers.
const LARGEST: u64 = 1 << 40;
/// By what a range grows unless told otherwise.
const DOUBLING: u64 = 2;
/// How sizes are written, for the third line of an error.
const HOW: &str = "write a range such as 8:4M or 8:4M:4 (factor 4), or a list such as 64,1M";

/// The sizes of a benchmark in bytes, in the order in which they are measured; never empty.
///
/// A range goes from its first size to its second, each step times two or the factor given; the second is reached
/// only if a step hits it. A range from 0 goes on with 1. `K`, `M`, `G` mean 2^10, 2^20, 2^30.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    sizes: Vec<u64>,
    /// The end of a range whose steps miss it.
    missed: Option<u64>,
}

impl Sizes {
    /// Returns the sizes, smallest first if they were given as a range.
    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.sizes
    }

    /// Returns a sentence if the steps of a range miss its end.
    pub(crate) fn note(&self) -> Option<String> {
        let (missed, last) = (self.missed?, self.sizes.last()?);
        Some(format!("the sizes end at {}: the steps of the range miss {}", Bytes(*last), Bytes(missed)))
    }
}

impl FromStr for Sizes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = match text.contains(':') {
            true => parse_range(text),
            false => {
                let sizes: Result<_, String> = text.split(',').map(parse_size).collect();
                sizes.map(|sizes| Self { sizes, missed: None })
            }
        };
        parsed.map_err(|why| Error::setting(format!("cannot use the sizes '{text}'"), why, HOW))
    }
}

fn parse_range(text: &str) -> Result<Sizes, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (first, last, factor) = match parts[..] {
        [first, last] => (parse_size(first)?, parse_size(last)?, DOUBLING),
        [first, last, factor] => (parse_size(first)?, parse_size(last)?, parse_factor(factor)?),
        _ => return Err("a range has two sizes and perhaps a factor".into()),
    };
    if first > last {
        return Err(format!("the range is reversed: {} is more than {}", Bytes(first), Bytes(last)));
    }
    let next = |&size: &u64| if size == 0 { Some(1) } else { size.checked_mul(factor) };
    let sizes: Vec<u64> = std::iter::successors(Some(first), next).take_while(|&size| size <= last).collect();
    let missed = (sizes.last() != Some(&last)).then_some(last);
    Ok(Sizes { sizes, missed })
}

fn parse_size(text: &str) -> Result<u64, String> {
    let not_a_size = || format!("'{text}' is not a size");
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some(_) => (text, 0),
        None => return Err("a size is missing".into()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_size());
    }
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    size.filter(|&size| size <= LARGEST)
        .ok_or(format!("'{text}' is more than the largest size, {}", Bytes(LARGEST)))
}

fn parse_factor(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(factor) if factor >= 2 => Ok(factor),
        _ => Err(format!("'{text}' is not a factor: a whole number from 2 on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<u64> {
        text.parse::<Sizes>().expect(text).as_slice().to_vec()
    }

    #[test]
    fn a_range_doubles_or_grows_by_its_factor() {
        assert_eq!(sizes("8:64"), [8, 16, 32, 64]);
        assert_eq!(sizes("8:1K:4"), [8, 32, 128, 512]);
        assert_eq!(sizes("1M:4M"), [1 << 20, 2 << 20, 4 << 20]);
        assert_eq!(sizes("3:20"), [3, 6, 12]);
        assert_eq!(sizes("64:64"), [64]);
        assert_eq!(sizes("8:4M").len(), 20);
    }

    #[test]
    fn a_range_whose_steps_miss_its_end_says_so() {
        let note = |text: &str| text.parse::<Sizes>().expect(text).note();
        assert_eq!(
            note("8:4M:8").as_deref(),
            Some("the sizes end at 2 MiB: the steps of the range miss 4 MiB")
        );
        assert_eq!([note("8:4M"), note("64:64"), note("64,1M,3")], [None, None, None]);
    }

    #[test]
    fn a_range_may_start_at_nothing() {
        assert_eq!(sizes("0:4"), [0, 1, 2, 4]);
        assert_eq!(sizes("0"), [0]);
    }

    #[test]
    fn a_list_is_taken_as_it_is() {
        assert_eq!(sizes("64,1M,3"), [64, 1 << 20, 3]);
        assert_eq!(sizes("2k,1m,1G"), [2048, 1 << 20, 1 << 30]);
    }

    #[test]
    fn nonsense_is_explained() {
        for (text, why) in [
            ("", "a size is missing"),
            ("8:", "a size is missing"),
            ("64,,1M", "a size is missing"),
            ("8:x", "'x' is not a size"),
            ("K", "'K' is not a size"),
            ("-8", "'-8' is not a size"),
            ("+8", "'+8' is not a size"),
            ("1.5K", "'1.5K' is not a size"),
            ("8 :64", "'8 ' is not a size"),
            ("8\u{e9}", "'8\u{e9}' is not a size"),
            ("4M:8", "the range is reversed: 4 MiB is more than 8 B"),
            ("8:64:1", "'1' is not a factor: a whole number from 2 on"),
            ("8:64:x", "'x' is not a factor: a whole number from 2 on"),
            ("8:16:2:2", "a range has two sizes and perhaps a factor"),
            ("2000G", "'2000G' is more than the largest size, 1 TiB"),
            ("99999999999999999999", "'99999999999999999999' is more than the largest size, 1 TiB"),
        ] {
            let error = text.parse::<Sizes>().expect_err(text);
            assert_eq!(error.explanation().why, why);
        }
    }

    #[test]
    fn fuzz_sizes_are_refused_or_sorted_out_in_no_time() {
        efa_fuzz::rounds("sizes", 20_000, |random| {
            let text = random.pick(&["8:4M", "8:4M:8", "64,1M,3", "0:1G", "0", "1024G:1024G", "1:1024G:2"]);
            let text = random.mutate_text(text);
            match text.parse::<Sizes>() {
                Err(error) => assert!(error.to_string().contains(HOW), "{error}"),
                Ok(sizes) => {
                    let sizes = sizes.as_slice();
                    assert!(!sizes.is_empty() && sizes.iter().all(|&size| size <= LARGEST), "{text}");
                    // A range has at most one size per factor of two.
                    assert!(!text.contains(':') || sizes.len() <= 42, "{text}");
                    assert!(!text.contains(':') || sizes.is_sorted(), "{text}");
                }
            }
        });
    }
}
