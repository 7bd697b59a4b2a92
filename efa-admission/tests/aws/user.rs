//! What a user does in an account before a job: a network, groups and their rules, through the SDK.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use serde_json::Value;

pub(crate) const REGION: &str = "us-east-1";

/// The address of the mock of the EC2 API.
pub(crate) fn moto() -> String {
    std::env::var("EFA_TEST_MOTO").expect("EFA_TEST_MOTO has moto's address: run ci/ec2")
}

/// Waits for what the SDK does.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// An account with a network, and the ids that its parts got, by the names that cases give them.
pub(crate) struct Account {
    client: Client,
    pub(crate) ids: BTreeMap<String, String>,
}

impl Account {
    /// Two VPCs, of which the first has two subnets. Its default group is `default`.
    pub(crate) async fn new() -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("user", "secret", None, None, "test"))
            .endpoint_url(moto())
            .build();
        let mut account = Self { client: Client::from_conf(config), ids: BTreeMap::new() };
        for vpc in ["vpc-1", "vpc-2"] {
            let request = account.client.create_vpc().cidr_block("10.0.0.0/16");
            let made = request.send().await.expect("a VPC").vpc.expect("a VPC");
            account.ids.insert(vpc.into(), made.vpc_id.expect("an id"));
        }
        for (subnet, block) in [("subnet-1", "10.0.0.0/20"), ("subnet-2", "10.0.16.0/20")] {
            let request = account.client.create_subnet().vpc_id(&account.ids["vpc-1"]).cidr_block(block);
            let made = request.send().await.expect("a subnet").subnet.expect("a subnet");
            account.ids.insert(subnet.into(), made.subnet_id.expect("an id"));
        }
        let filter =
            |name: &str, value: &str| aws_sdk_ec2::types::Filter::builder().name(name).values(value).build();
        let request = account
            .client
            .describe_security_groups()
            .filters(filter("vpc-id", &account.ids["vpc-1"]))
            .filters(filter("group-name", "default"));
        let found = request.send().await.expect("the default group");
        let default = found.security_groups()[0].group_id().expect("an id").to_owned();
        account.ids.insert("default".into(), default);
        account
    }

    /// Makes the groups of a fixture, with their rules. Groups that rules refer to exist as well.
    pub(crate) async fn make_groups(&mut self, groups: &[Value]) {
        for group in groups {
            self.make_group(group["GroupId"].as_str().expect("an id")).await;
        }
        for group in groups {
            let id = self.ids[group["GroupId"].as_str().expect("an id")].clone();
            let ingress = self.permissions(&group["IpPermissions"]).await;
            if !ingress.is_empty() {
                let request = self.client.authorize_security_group_ingress().group_id(&id);
                request.set_ip_permissions(Some(ingress)).send().await.expect("rules");
            }
            self.allow_out(&id, &group["IpPermissionsEgress"]).await;
        }
    }

    /// A new group has a rule that lets all traffic out by address, which the fixture may not have.
    async fn allow_out(&mut self, id: &str, rules: &Value) {
        let anywhere = IpPermission::builder()
            .ip_protocol("-1")
            .ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build())
            .build();
        let request = self.client.revoke_security_group_egress().group_id(id).ip_permissions(anywhere);
        request.send().await.expect("one rule less");
        let egress = self.permissions(rules).await;
        if !egress.is_empty() {
            let request = self.client.authorize_security_group_egress().group_id(id);
            request.set_ip_permissions(Some(egress)).send().await.expect("rules");
        }
    }

    /// An empty group by this name, unless there is one.
    pub(crate) async fn make_group(&mut self, name: &str) -> String {
        if let Some(id) = self.ids.get(name) {
            return id.clone();
        }
        let request = self.client.create_security_group().group_name(name).description("EFA traffic");
        let made = request.vpc_id(&self.ids["vpc-1"]).send().await.expect("a group");
        let id = made.group_id.expect("an id");
        self.ids.insert(name.into(), id.clone());
        id
    }

    pub(crate) async fn delete_group(&self, name: &str) {
        self.client.delete_security_group().group_id(&self.ids[name]).send().await.expect("one group less");
    }

    /// Lets all traffic of the group with itself out, as the remedy for a missing rule says.
    pub(crate) async fn let_itself_out(&self, name: &str) {
        let id = &self.ids[name];
        let pair = UserIdGroupPair::builder().group_id(id).build();
        let rule = IpPermission::builder().ip_protocol("-1").user_id_group_pairs(pair).build();
        let request = self.client.authorize_security_group_egress().group_id(id).ip_permissions(rule);
        request.send().await.expect("one rule more");
    }

    /// The value with every name in it replaced by the id that the account gave.
    pub(crate) fn with_ids(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.ids.get(text).unwrap_or(text).clone().into(),
            Value::Array(items) => items.iter().map(|item| self.with_ids(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), self.with_ids(value))).collect()
            }
            other => other.clone(),
        }
    }

    async fn permissions(&mut self, entries: &Value) -> Vec<IpPermission> {
        let mut permissions = Vec::new();
        for entry in entries.as_array().into_iter().flatten() {
            let mut permission = IpPermission::builder()
                .ip_protocol(entry["IpProtocol"].as_str().expect("a protocol"))
                .set_from_port(port(&entry["FromPort"]))
                .set_to_port(port(&entry["ToPort"]));
            for pair in entry["UserIdGroupPairs"].as_array().into_iter().flatten() {
                let group = self.make_group(pair["GroupId"].as_str().expect("an id")).await;
                permission =
                    permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(group).build());
            }
            for range in texts(&entry["IpRanges"], "CidrIp") {
                permission = permission.ip_ranges(IpRange::builder().cidr_ip(range).build());
            }
            for range in texts(&entry["Ipv6Ranges"], "CidrIpv6") {
                permission = permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(range).build());
            }
            for list in texts(&entry["PrefixListIds"], "PrefixListId") {
                permission = permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(list).build());
            }
            permissions.push(permission.build());
        }
        permissions
    }
}

fn texts<'a>(list: &'a Value, key: &'static str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |item| item[key].as_str())
}

fn port(value: &Value) -> Option<i32> {
    value.as_i64().map(|port| i32::try_from(port).expect("a port"))
}
