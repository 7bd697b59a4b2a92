//! `--plot FILE.svg`: members in their subnets, with network cards, interfaces and security groups, and what is wrong
//! marked where it is.

mod layout;
mod svg;

pub(super) use layout::picture;
