//! The EC2 API as the SDK sees it: moto, but for what moto doesn't do. Kinds of interfaces, placement groups and
//! topology are replayed in the API's own XML, in pages that are smaller than what is asked for at once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::http::{Reply, Request, Server};

/// So many items make a page.
const PAGE: usize = 50;

/// What the replayed replies say.
#[derive(Clone, Default)]
pub(crate) struct Replay {
    /// By the interface's id, and by its MAC address; no word about those that are `unknown`.
    pub(crate) kinds: BTreeMap<String, String>,
    /// By placement group.
    pub(crate) strategies: BTreeMap<String, String>,
    /// By instance.
    pub(crate) topology: BTreeMap<String, Vec<String>>,
}

impl Replay {
    /// What EC2 would say of these members, given in the form of a members file.
    pub(crate) fn of(members: &[Value]) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut replay = Self::default();
        for member in members {
            for interface in member["interfaces"].as_array().expect("a list of interfaces") {
                for name in ["interface_id", "mac"] {
                    let name = text(&interface[name]).expect("a name");
                    replay.kinds.insert(name, text(&interface["kind"]).expect("a kind"));
                }
            }
            let placement = &member["placement"];
            if let (Some(group), Some(strategy)) = (text(&placement["group"]), text(&placement["strategy"])) {
                replay.strategies.insert(group, strategy);
            }
        }
        replay
    }

    /// Serves it before moto; `trouble` answers first, or leaves an action to the others.
    pub(crate) fn serve(
        self,
        moto: &str,
        trouble: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static,
    ) -> Server {
        let moto = moto.strip_prefix("http://").expect("a plain address").to_owned();
        Server::start(move |request| {
            let form = form(request);
            let action = form.get("Action").map_or("", String::as_str);
            trouble(action).or_else(|| self.answer(action, &form)).unwrap_or_else(|| forward(&moto, request))
        })
    }

    /// The reply to what moto doesn't do; `None` for the rest.
    pub(crate) fn reply(&self, request: &Request) -> Option<Reply> {
        let form = form(request);
        self.answer(form.get("Action")?, &form)
    }

    fn answer(&self, action: &str, form: &BTreeMap<String, String>) -> Option<Reply> {
        let asked = |prefix: &str| -> Vec<&String> {
            form.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value).collect()
        };
        let (set, items) = match action {
            "DescribeNetworkInterfaces" => {
                let tag_of_name = match form["Filter.1.Name"].as_str() {
                    "network-interface-id" => "networkInterfaceId",
                    "mac-address" => "macAddress",
                    other => panic!("interfaces are not asked for by {other}"),
                };
                let item = |id: &String| {
                    let kind = self.kinds.get(id)?;
                    let tag = match kind.as_str() {
                        "unknown" => String::new(),
                        kind => format!("<interfaceType>{kind}</interfaceType>"),
                    };
                    Some(format!("<{tag_of_name}>{id}</{tag_of_name}>{tag}"))
                };
                ("networkInterfaceSet", asked("Filter.1.Value.").into_iter().filter_map(item).collect())
            }
            "DescribePlacementGroups" => {
                assert_eq!(form["Filter.1.Name"], "group-name");
                let item = |name: &String| {
                    let strategy = self.strategies.get(name)?;
                    Some(format!("<groupName>{name}</groupName><strategy>{strategy}</strategy>"))
                };
                ("placementGroupSet", asked("Filter.1.Value.").into_iter().filter_map(item).collect())
            }
            "DescribeInstanceTopology" => {
                let ids = asked("InstanceId.");
                assert!(ids.len() <= 100 && !form.contains_key("MaxResults"), "the API refuses this");
                let item = |id: &String| {
                    let nodes: String =
                        self.topology.get(id)?.iter().map(|node| format!("<item>{node}</item>")).collect();
                    Some(format!("<instanceId>{id}</instanceId><networkNodeSet>{nodes}</networkNodeSet>"))
                };
                ("instanceSet", ids.into_iter().filter_map(item).collect::<Vec<_>>())
            }
            _ => return None,
        };
        Some(page(action, set, &items, form))
    }
}

/// The page that the form asks for. Placement groups come in one.
fn page(action: &str, set: &str, items: &[String], form: &BTreeMap<String, String>) -> Reply {
    let start = form.get("NextToken").map_or(0, |token| token.parse().expect("a token of ours"));
    let end = if action == "DescribePlacementGroups" { items.len() } else { items.len().min(start + PAGE) };
    let list: String = items[start..end].iter().map(|item| format!("<item>{item}</item>")).collect();
    let next = if end < items.len() { format!("<nextToken>{end}</nextToken>") } else { String::new() };
    let xml = format!(
        "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
         <{set}>{list}</{set}>{next}</{action}Response>"
    );
    Reply::text(200, xml)
}

/// The API's way to refuse a request.
pub(crate) fn error(status: u16, code: &str) -> Reply {
    error_at(status, code, None)
}

/// The same with the time that the API has.
pub(crate) fn error_at(status: u16, code: &str, date: Option<&str>) -> Reply {
    let xml = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>because</Message></Error></Errors>\
         <RequestID>r-1</RequestID></Response>"
    );
    let headers = date.map(|date| ("date", date.to_owned())).into_iter().collect();
    Reply::Http { status, headers, body: xml.into_bytes() }
}

/// What the request asks for, such as `DescribeSecurityGroups`.
pub(crate) fn action(request: &Request) -> String {
    form(request).remove("Action").unwrap_or_default()
}

/// The keys and values of a form.
fn form(request: &Request) -> BTreeMap<String, String> {
    let body = String::from_utf8(request.body.clone()).expect("a form");
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let hex = std::str::from_utf8(&after[..2]).expect("two digits");
                bytes.push(u8::from_str_radix(hex, 16).expect("a hexadecimal number"));
                rest = &after[2..];
            }
            b'+' => bytes.push(b' '),
            letter => bytes.push(letter),
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// Hands the request on as it is, but for the connection, which is closed after it.
fn forward(address: &str, request: &Request) -> Reply {
    let mut stream = TcpStream::connect(address).expect("moto runs");
    let mut head = format!("{} {} HTTP/1.0\r\n", request.method, request.path);
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "connection") {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", &request.body].concat()).expect("moto listens");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("moto answers");
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let status = std::str::from_utf8(&reply[9..12]).expect("a status").parse().expect("a status");
    Reply::Http { status, headers: Vec::new(), body: reply[end..].to_vec() }
}
