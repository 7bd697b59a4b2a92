//! Members files, and what `aws ec2 describe-security-groups` prints.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use crate::facts::{Facts, MemberFacts, Site};
use crate::groups::{GroupRules, SecurityGroups};
use efa_error::{Error, Result};

/// The largest file that is read. It has room for ten thousand members with two dozen interfaces each, every key
/// given and no spaces, and it keeps a wrong path from filling the memory.
pub const LARGEST_FILE: usize = 64 << 20;

/// Reads a members file.
///
/// # Errors
/// A file that can't be read or is larger than [`LARGEST_FILE`]; and an unknown key, a wrong type, a missing key or
/// a repeated rank, with line, column and path of the place.
pub fn read_members(path: &Path) -> Result<Vec<Facts>> {
    let text = read(path)?;
    parse_members(&text).map_err(|wrong| wrong.into_error("members file", path, MEMBERS_REMEDY))
}

/// Reads the rules of security groups from a file that holds what `aws ec2 describe-security-groups` prints.
///
/// # Errors
/// A file that can't be read, is larger than [`LARGEST_FILE`], or is not of that form, with line, column and path of
/// the place.
pub fn read_security_groups(path: &Path) -> Result<SecurityGroups> {
    let text = read(path)?;
    parse_security_groups(&text)
        .map_err(|wrong| wrong.into_error("security groups file", path, GROUPS_REMEDY))
}

const MEMBERS_REMEDY: &str = "write it as a list of members, each with rank, instance_id and interfaces";
const GROUPS_REMEDY: &str = "write it with 'aws ec2 describe-security-groups --output json'";

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|source| Error::file(source, path))?;
    // One byte more than allowed shows that the file is larger; pipes have no length to ask for.
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut text).map_err(|source| Error::file(source, path))?;
    if text.len() > LARGEST_FILE {
        return Err(Error::setting(
            format!("cannot read {}", path.display()),
            format!("it is larger than {} MiB", LARGEST_FILE >> 20),
            "leave out spaces and members that are not part of the job",
        ));
    }
    Ok(text)
}

fn parse_members(text: &[u8]) -> Result<Vec<Facts>, Wrong> {
    let Members(members) = parse(text)?;
    Ok(members
        .into_iter()
        .map(|member| Facts { site: Site::File, member, host: None, failure: None, bound: None })
        .collect())
}

fn parse_security_groups(text: &[u8]) -> Result<SecurityGroups, Wrong> {
    /// The reply's other keys, such as the token of a next page, are AWS's business.
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        security_groups: Vec<GroupRules>,
    }
    let reply: Reply = parse(text)?;
    Ok(SecurityGroups::known(reply.security_groups))
}

/// What is wrong in a file, and where.
#[derive(Debug)]
struct Wrong {
    line: usize,
    column: usize,
    path: String,
    reason: String,
}

impl Wrong {
    fn into_error(self, kind: &str, file: &Path, remedy: &str) -> Error {
        let Self { line, column, path, reason } = self;
        let what = format!("cannot use the {kind} {}", file.display());
        Error::setting(what, format!("line {line}, column {column}, at {path}: {reason}"), remedy)
    }
}

fn parse<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Wrong> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let value = T::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Wrong {
            line: error.line(),
            column: error.column(),
            path: json_path(&track.path()),
            reason: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        }
    })
}

/// `$[3].interfaces[0].kind`
fn json_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::from("$");
    for segment in path {
        match segment {
            Segment::Seq { index } => text += &format!("[{index}]"),
            Segment::Map { key } => text += &format!(".{key}"),
            Segment::Enum { variant } => text += &format!(".{variant}"),
            Segment::Unknown => {}
        }
    }
    text
}

/// The list in a members file. A repeated rank is an error while the place is still at hand.
struct Members(Vec<MemberFacts>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<MemberFacts>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of members")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut ranks = HashMap::new();
        while let Some(member) = seq.next_element_seed(NewMember { ranks: &mut ranks })? {
            members.push(member);
        }
        Ok(members)
    }
}

/// A member whose rank no member before it has.
struct NewMember<'a> {
    /// Where each rank was first seen.
    ranks: &'a mut HashMap<usize, usize>,
}

impl<'de> DeserializeSeed<'de> for NewMember<'_> {
    type Value = MemberFacts;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let member = MemberFacts::deserialize(deserializer)?;
        let index = self.ranks.len();
        match self.ranks.insert(member.rank, index) {
            Some(first) => {
                Err(de::Error::custom(format_args!("rank {} is already taken by $[{first}]", member.rank)))
            }
            None => Ok(member),
        }
    }
}
