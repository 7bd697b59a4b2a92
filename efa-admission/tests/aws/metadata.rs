//! The instance metadata service, second version, of any number of instances: that of rank R answers below `/R`.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::Value;

use super::http::{Reply, Request, Server};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Serves the instances of these members, given in the form of a members file.
pub(crate) fn serve(members: &[Value]) -> Server {
    serve_with(members, |_| None)
}

/// The same with something wrong: `trouble` answers first, or leaves a request to the service.
pub(crate) fn serve_with(
    members: &[Value],
    trouble: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let mut values = HashMap::new();
    for member in members {
        keys(member, &mut values);
    }
    let tokens = Mutex::new(0);
    Server::start(move |request| {
        trouble(request).unwrap_or_else(|| answer(request, &values, &mut tokens.lock().expect("no panic")))
    })
}

/// The address of one instance's service.
pub(crate) fn endpoint_of(server: &Server, rank: usize) -> String {
    format!("{}/{rank}", server.endpoint())
}

/// Tokens are numbers, and all that were given are good.
fn answer(request: &Request, values: &HashMap<String, String>, tokens: &mut u64) -> Reply {
    if request.headers.contains_key("x-forwarded-for") {
        return Reply::text(403, "a proxy stands between");
    }
    match request.method.as_str() {
        "PUT" if request.path.ends_with("/latest/api/token") => {
            let ttl = request.headers.get(TTL).and_then(|ttl| ttl.parse::<u32>().ok());
            let Some(ttl) = ttl.filter(|ttl| (1..=21_600).contains(ttl)) else {
                return Reply::text(400, "no lifetime");
            };
            *tokens += 1;
            Reply::Http {
                status: 200,
                headers: vec![(TTL, ttl.to_string())],
                body: format!("token-{tokens}==").into_bytes(),
            }
        }
        "GET" => {
            let token = request.headers.get("x-aws-ec2-metadata-token");
            let number =
                token.and_then(|token| token.strip_prefix("token-")?.strip_suffix("==")?.parse().ok());
            if number.is_none_or(|number: u64| number == 0 || number > *tokens) {
                return Reply::text(401, "no token");
            }
            match values.get(&request.path).cloned().or_else(|| listing(values, &request.path)) {
                Some(value) => Reply::text(200, value),
                None => Reply::text(404, "not found"),
            }
        }
        _ => Reply::text(405, "no such method"),
    }
}

/// What the service says of a folder: the names in it, folders with a slash behind.
fn listing(values: &HashMap<String, String>, folder: &str) -> Option<String> {
    let below = values.keys().filter_map(|path| path.strip_prefix(folder).filter(|_| folder.ends_with('/')));
    let names: std::collections::BTreeSet<String> = below
        .map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

/// What the service of this member says, by path. Absent and null keys are absent there as well.
fn keys(member: &Value, values: &mut HashMap<String, String>) {
    let base = format!("/{}/latest/meta-data", member["rank"]);
    let mut put = |key: &str, value: &Value| {
        let text = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Array(lines) if lines.is_empty() => return,
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
            other => other.to_string(),
        };
        values.insert(format!("{base}/{key}"), text);
    };
    put("instance-id", &member["instance_id"]);
    put("instance-type", &member["instance_type"]);
    put("placement/availability-zone-id", &member["availability_zone_id"]);
    put("placement/group-name", &member["placement"]["group"]);
    put("placement/partition-number", &member["placement"]["partition"]);
    let interfaces = member["interfaces"].as_array().expect("a list of interfaces");
    let macs = interfaces.iter().map(|it| format!("{}/", it["mac"].as_str().expect("a mac")));
    put("network/interfaces/macs/", &Value::String(macs.collect::<Vec<_>>().join("\n")));
    put("mac", &interfaces.first().map_or(Value::Null, |it| it["mac"].clone()));
    for (number, interface) in interfaces.iter().enumerate() {
        let base = format!("network/interfaces/macs/{}", interface["mac"].as_str().expect("a mac"));
        let named = [
            ("interface-id", "interface_id"),
            ("subnet-id", "subnet_id"),
            ("vpc-id", "vpc_id"),
            ("security-group-ids", "security_groups"),
            ("local-ipv4s", "ipv4"),
            ("ipv6s", "ipv6"),
        ];
        for (key, field) in named {
            put(&format!("{base}/{key}"), &interface[field]);
        }
        put(&format!("{base}/device-number"), &number.into());
        // The service leaves the key out on the first card, and has had two names for it.
        let card = interface["network_card"].as_u64().unwrap_or(0);
        if card > 0 {
            let name = if card % 2 == 0 { "network-card" } else { "network-card-index" };
            put(&format!("{base}/{name}"), &card.into());
        }
    }
}
