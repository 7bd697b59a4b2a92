//! Members files, what people have in place of one, and what `aws ec2 describe-security-groups` prints.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::listing::{Listing, RuleListing};
use super::plan::json::AsTree;
use super::plan::tree::{Budget, Tree};
use super::plan::{self, Plan};
use crate::facts::{Facts, MemberFacts, Site};
use crate::groups::{GroupRules, SecurityGroups};
use efa_error::input::read_bounded;
use efa_error::{Error, Result};

/// The largest file that is read. It has room for ten thousand members with two dozen interfaces each, every key
/// given and no spaces, and it keeps a wrong path from filling the memory.
pub const LARGEST_FILE: usize = 64 << 20;

/// What a file tells of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// Its members, in the order of their ranks or of the file.
    pub members: Vec<Facts>,
    /// What the form of the file is, and what it can't tell; for people.
    pub notes: Vec<String>,
    /// The security groups that the file describes as well, with their rules.
    pub rules: Vec<GroupRules>,
    /// Whether the members are places that instances of one description may start in: any number of instances can be
    /// made of them.
    pub is_template: bool,
    /// Whether names in the file stand for what does not exist yet, so that no command can mend it.
    pub is_plan: bool,
}

impl Described {
    fn of(members: Vec<Facts>, notes: Vec<String>) -> Self {
        Self { members, notes, rules: Vec::new(), is_template: false, is_plan: false }
    }
}

/// Reads the members of a job from a members file, or from what people have in place of one:
///
/// - what `aws ec2 describe-instances`, `describe-network-interfaces` or `describe-launch-template-versions` prints,
/// - what `terraform show -json` prints of a plan or a state,
/// - a CloudFormation template in JSON or YAML,
/// - a configuration of AWS ParallelCluster 3, Karpenter (with its node classes and pools) or eksctl.
///
/// The content decides what the file is taken for; the first note names that. Of a file that describes several kinds of
/// instances, `only` chooses by name.
///
/// # Errors
/// As those of [`read_members`]; a listing that is only a part; and a name that nothing or, where one is needed, more
/// than one thing in the file has.
pub fn read_described(path: &Path, only: Option<&str>) -> Result<Described> {
    let text = read(path)?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let what = "members file";
    let documents = match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'[') => {
            reject_only(path, only)?;
            let members = parse_members(text);
            let members = members.map_err(|wrong| wrong.into_error(what, path, MEMBERS_REMEDY))?;
            return Ok(Described::of(members, Vec::new()));
        }
        Some(b'{') => {
            let Keys(keys) = parse(text).map_err(|wrong| wrong.into_error(what, path, PLAN_REMEDY))?;
            if Listing::is_one(&keys) {
                reject_only(path, only)?;
                let listing: Listing =
                    parse(text).map_err(|wrong| wrong.into_error(what, path, LISTING_REMEDY))?;
                let (form, is_template) = (listing.form(), listing.is_template());
                let (members, mut notes) =
                    listing.members().map_err(|why| useless(what, path, why, LISTING_REMEDY))?;
                notes.insert(0, taken_for(form));
                let described = Described::of(members.into_iter().map(of_file).collect(), notes);
                return Ok(Described { is_template, is_plan: is_template, ..described });
            }
            let budget = RefCell::new(Budget::new());
            let tree = parse_seed(text, AsTree::new(&budget));
            vec![tree.map_err(|wrong| wrong.into_error(what, path, PLAN_REMEDY))?]
        }
        Some(_) => yaml_documents(text).map_err(|wrong| wrong.into_error(what, path, PLAN_REMEDY))?,
    };
    let plan = Plan::of(&documents);
    let mut plan = plan.map_err(|why| useless(what, path, one_line(&why), PLAN_REMEDY))?;
    let chosen = plan.choose(only).map_err(|why| useless(what, path, one_line(&why), ONLY_REMEDY))?;
    let mut notes = vec![taken_for(plan.form)];
    notes.extend(plan.notes.iter().map(|note| one_line(note)));
    if chosen.is_template {
        notes.push("the file describes instances of one kind: --for N judges N of them".into());
    }
    Ok(Described {
        members: chosen.members.into_iter().map(of_file).collect(),
        notes,
        rules: plan.rules,
        is_template: chosen.is_template,
        is_plan: plan.is_symbolic,
    })
}

fn taken_for(form: &str) -> String {
    format!("the members file was taken for {form}")
}

fn reject_only(path: &Path, only: Option<&str>) -> Result<()> {
    match only {
        Some(only) => Err(Error::setting(
            format!("cannot choose {only} in {}", path.display()),
            "a list of members has no names of nodes to choose from",
            "leave --only out",
        )),
        None => Ok(()),
    }
}

fn yaml_documents(text: &[u8]) -> Result<Vec<Tree>, Wrong> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Wrong { line, column: 1, path: "$".into(), reason: "it is not UTF-8".into() }
    })?;
    plan::yaml::documents(text).map_err(|wrong| {
        let plan::yaml::Wrong { line, column, reason } = wrong;
        Wrong { line, column, path: "$".into(), reason: one_line(&reason) }
    })
}

/// Reads a members file, in whichever form [`read_described`] takes, without the notes.
///
/// # Errors
/// A file that can't be read or is larger than [`LARGEST_FILE`]; and an unknown key, a wrong type, a missing key or
/// a repeated rank, with line, column and path of the place.
pub fn read_members(path: &Path) -> Result<Vec<Facts>> {
    Ok(read_described(path, None)?.members)
}

/// Reads the rules of security groups from a file that holds what `aws ec2 describe-security-groups` or
/// `describe-security-group-rules` prints.
///
/// # Errors
/// A file that can't be read, is larger than [`LARGEST_FILE`], or is not of that form, with line, column and path of
/// the place.
pub fn read_security_groups(path: &Path) -> Result<SecurityGroups> {
    let text = read(path)?;
    let listing: RuleListing =
        parse(&text).map_err(|wrong| wrong.into_error("security groups file", path, GROUPS_REMEDY))?;
    let groups = listing.groups().map_err(|why| useless("security groups file", path, why, GROUPS_REMEDY))?;
    Ok(SecurityGroups::known(groups))
}

fn useless(kind: &str, path: &Path, why: String, remedy: &str) -> Error {
    Error::setting(format!("cannot use the {kind} {}", path.display()), why, remedy)
}

fn of_file(member: MemberFacts) -> Facts {
    Facts { site: Site::File, member, host: None, failure: None, bound: None }
}

const MEMBERS_REMEDY: &str = "write it as a list of members, each with rank, instance_id and interfaces";
const LISTING_REMEDY: &str = "write it with 'aws ec2 describe-instances --instance-ids ... --output json'";
const PLAN_REMEDY: &str = "give one of the forms that docs/admission.md lists under 'Before the launch'";
const ONLY_REMEDY: &str = "write it like --only NAME";
const GROUPS_REMEDY: &str = "write it with 'aws ec2 describe-security-groups --output json'";

fn read(path: &Path) -> Result<Vec<u8>> {
    // One byte more than allowed shows that the file is larger; pipes have no length to ask for.
    let text = read_bounded(path, LARGEST_FILE + 1)?;
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
    Ok(members.into_iter().map(of_file).collect())
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
    parse_seed(text, PhantomData)
}

fn parse_seed<'de, S: DeserializeSeed<'de>>(text: &'de [u8], seed: S) -> Result<S::Value, Wrong> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let value = seed.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Wrong {
            line: error.line(),
            column: error.column(),
            path: one_line(&json_path(&track.path())),
            reason: one_line(text.strip_suffix(&place).unwrap_or(&text)),
        }
    })
}

/// Returns the text with line breaks escaped, which keys and values of a file may have: an error is one line.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// Returns a path such as `$[3].interfaces[0].kind`.
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

/// The keys of an object, whose values are not looked at: they say what the file is.
struct Keys(BTreeSet<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor).map(Self)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key()? {
            let IgnoredAny = map.next_value()?;
            keys.insert(key);
        }
        Ok(keys)
    }
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
