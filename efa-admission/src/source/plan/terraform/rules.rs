//! Security groups with their rules, inline and as resources of their own.

use std::collections::BTreeMap;

use super::super::node::port;
use super::super::tree::{At, Reading};
use super::{Blocks, Resource, Terraform};
use crate::groups::{GroupPair, GroupRules, IpRange, Ipv6Range, Permission, PrefixList};

impl Terraform<'_> {
    /// The groups of the file with their rules.
    pub(super) fn rules(&self) -> Reading<Vec<GroupRules>> {
        let mut groups: BTreeMap<String, Option<GroupRules>> = BTreeMap::new();
        for resource in self.of_kind("aws_security_group") {
            let name = resource.id()?;
            let mut rules = GroupRules { group_id: name.clone(), ..GroupRules::default() };
            let mut known = true;
            for (key, egress) in [("ingress", false), ("egress", true)] {
                let written = Blocks::of(resource.expressions.as_ref(), key)?;
                known &= !Self::is_left_out(&resource.values, resource.expressions.as_ref(), key);
                for (number, listed) in resource.values.list_of(key)?.iter().enumerate() {
                    match self.permission(
                        resource,
                        listed,
                        written.get(number),
                        "security_groups",
                        "protocol",
                        &name,
                    )? {
                        Some(rule) if egress => rules.ip_permissions_egress.push(rule),
                        Some(rule) => rules.ip_permissions.push(rule),
                        None => known = false,
                    }
                }
            }
            groups.insert(name, known.then_some(rules));
        }
        let single = [
            ("aws_security_group_rule", "source_security_group_id", "protocol"),
            ("aws_vpc_security_group_ingress_rule", "referenced_security_group_id", "ip_protocol"),
            ("aws_vpc_security_group_egress_rule", "referenced_security_group_id", "ip_protocol"),
        ];
        for (kind, group_key, protocol) in single {
            for resource in self.of_kind(kind) {
                let (values, expressions) = (&resource.values, resource.expressions.as_ref());
                let name = self.one_id(resource, values, expressions, "security_group_id")?;
                let Some(name) = name.filter(|name| !self.opaque.borrow().contains(name)) else {
                    // It may be a rule of any group, such as one that a local names.
                    groups.values_mut().for_each(|group| *group = None);
                    continue;
                };
                let Some(group) = groups.get_mut(&name) else { continue };
                let egress =
                    kind.ends_with("egress_rule") || values.text_of("type")?.as_deref() == Some("egress");
                if Self::is_left_out(values, expressions, "type") {
                    *group = None;
                    continue;
                }
                let rule = self.permission(resource, values, expressions, group_key, protocol, &name)?;
                match (rule, group.as_mut()) {
                    (Some(rule), Some(group)) if egress => group.ip_permissions_egress.push(rule),
                    (Some(rule), Some(group)) => group.ip_permissions.push(rule),
                    _ => *group = None,
                }
            }
        }
        Ok(groups.into_values().flatten().collect())
    }

    /// A rule; `None` where only the apply can tell what it allows.
    fn permission(
        &self,
        resource: &Resource<'_>,
        values: &At<'_>,
        expressions: Option<&At<'_>>,
        group_key: &str,
        protocol: &str,
        own: &str,
    ) -> Reading<Option<Permission>> {
        let Some(protocol) = values.scalar_of(protocol)? else { return Ok(None) };
        let is_left_out = |key: &&str| Self::is_left_out(values, expressions, key);
        if ["from_port", "to_port", "self"].iter().any(is_left_out) {
            return Ok(None);
        }
        let groups = self.ids(resource, values, expressions, group_key)?;
        if groups.is_none() && is_left_out(&group_key) {
            return Ok(None);
        }
        let mut groups = groups.unwrap_or_default();
        if values.flag_of("self")? {
            groups.push(own.to_owned());
        }
        // What only the apply can tell may be the group itself.
        if groups.iter().any(|group| self.opaque.borrow().contains(group)) {
            return Ok(None);
        }
        // The API's listing has the owner before the id of a group of another account.
        let last = |it: String| it.rsplit('/').next().unwrap_or_default().to_owned();
        let texts = |many: &str, one: &str| -> Reading<Vec<String>> {
            let mut all = values.texts_of(many)?.unwrap_or_default();
            all.extend(values.text_of(one)?);
            Ok(all)
        };
        let (Ok(from_port), Ok(to_port)) = (port(values, "from_port"), port(values, "to_port")) else {
            return Ok(None);
        };
        let protocol = if protocol.eq_ignore_ascii_case("all") { "-1".into() } else { protocol };
        let permission = Permission {
            ip_protocol: protocol,
            from_port,
            to_port,
            user_id_group_pairs: groups
                .into_iter()
                .map(|it| GroupPair { group_id: Some(last(it)), ..GroupPair::default() })
                .collect(),
            ip_ranges: texts("cidr_blocks", "cidr_ipv4")?
                .into_iter()
                .map(|it| IpRange { cidr_ip: Some(it) })
                .collect(),
            ipv6_ranges: texts("ipv6_cidr_blocks", "cidr_ipv6")?
                .into_iter()
                .map(|it| Ipv6Range { cidr_ipv6: Some(it) })
                .collect(),
            prefix_list_ids: texts("prefix_list_ids", "prefix_list_id")?
                .into_iter()
                .map(|it| PrefixList { prefix_list_id: Some(it) })
                .collect(),
        };
        let is_empty = permission.user_id_group_pairs.is_empty()
            && permission.ip_ranges.is_empty()
            && permission.ipv6_ranges.is_empty()
            && permission.prefix_list_ids.is_empty();
        let is_plan = !self.modules.is_empty();
        Ok((!is_empty || !is_plan).then_some(permission))
    }
}
