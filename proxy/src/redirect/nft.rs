//! The plan for nftables: one table of our own, made or replaced in one transaction.
//!
//! Rules are written as `nft -s -y list table` lists them, so that what is in force can be compared with them word by word.

use super::plan::{Mode, Plan};
use super::ranges::{Addresses, Ports, Which};
use super::rules::Rules;

/// The table, of family `inet`: IPv4 and IPv6 in one.
pub(super) const TABLE: &str = "weft";

/// Replaces our table whole; other tables are not named.
pub(super) fn transaction(plan: &Plan) -> String {
    // Adding what is there changes nothing, and only what is there can be deleted.
    format!("{}{}", removal(), table(plan))
}

/// Removes our table, whether it is there or not.
pub(super) fn removal() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// Replaces our table by what was in it once; removes it where that is nothing.
pub(super) fn replacement(rules: &Rules) -> String {
    let mut text = removal();
    if !rules.is_empty() {
        text.push_str(&format!("table inet {TABLE} {{\n"));
        for block in rules.blocks() {
            text.push_str(&format!(
                "{} {{\n{}\n}}\n",
                block.name,
                block.lines.join("\n")
            ));
        }
        text.push_str("}\n");
    }
    text
}

/// The table.
pub(super) fn table(plan: &Plan) -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for (index, chain) in chains(plan).into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&format!("\tchain {} {{\n", chain.name));
        for rule in chain.rules {
            text.push_str(&format!("\t\t{rule}\n"));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

struct Chain {
    name: &'static str,
    rules: Vec<String>,
}

fn chain<const N: usize>(name: &'static str, rules: [&str; N]) -> Chain {
    Chain {
        name,
        rules: rules.map(str::to_owned).into(),
    }
}

fn chains(plan: &Plan) -> Vec<Chain> {
    let mut chains = Vec::new();
    if plan.captures_inbound() {
        let hook = match plan.mode {
            Mode::Redirect => "type nat hook prerouting priority -100; policy accept;",
            Mode::Tproxy => "type filter hook prerouting priority -150; policy accept;",
        };
        chains.push(chain("prerouting", [hook, "meta l4proto tcp jump inbound"]));
        chains.push(inbound(plan));
    }
    let hook = "type nat hook output priority -100; policy accept;";
    chains.push(chain("output", [hook, "meta l4proto tcp jump outbound"]));
    if plan.captures_inbound() {
        chains.push(to_self(plan));
    }
    chains.push(outbound(plan));
    if plan.mode == Mode::Tproxy && plan.captures_inbound() {
        chains.push(answers(plan));
    }
    chains
}

/// What comes in.
fn inbound(plan: &Plan) -> Chain {
    let mut rules = vec!["iifname \"lo\" return".to_owned()];
    if plan.mode == Mode::Tproxy {
        // Answers to what was called from here; translated connections are known to the kernel by their first packet.
        rules.push("ct direction reply return".to_owned());
    }
    rules.push("fib daddr type != local return".to_owned());
    rules.extend(unless_ipv6(plan));
    rules.extend(ports(&plan.spared_inbound(), "return"));
    let port = plan.proxy.inbound_port;
    rules.extend(captured(
        plan,
        &match plan.mode {
            Mode::Redirect => format!("counter redirect to :{port}"),
            Mode::Tproxy => format!("counter tproxy to :{port} accept"),
        },
    ));
    Chain {
        name: "inbound",
        rules,
    }
}

/// What the proxy sends to an address of this very pod: it comes in, as it would from elsewhere.
fn to_self(plan: &Plan) -> Chain {
    let mut rules = Vec::new();
    if plan.mode == Mode::Tproxy {
        // It is on its way to the application in its client's name.
        rules.push("fib saddr type != local return".to_owned());
    }
    rules.push("ip daddr 127.0.0.0/8 return".to_owned());
    rules.push("ip6 daddr ::1 return".to_owned());
    rules.extend(ports(&plan.spared_inbound(), "return"));
    let port = plan.proxy.inbound_port;
    rules.extend(captured(plan, &format!("counter redirect to :{port}")));
    Chain {
        name: "to_self",
        rules,
    }
}

/// What goes out.
fn outbound(plan: &Plan) -> Chain {
    let mut rules: Vec<String> = unless_ipv6(plan).collect();
    let who = who(plan);
    if plan.captures_inbound() {
        let to_self = |who: &String| format!("oifname \"lo\" {who} jump to_self");
        rules.extend(who.iter().map(to_self));
    }
    rules.push("oifname \"lo\" return".to_owned());
    rules.extend(who.iter().map(|who| format!("{who} return")));
    let spared = plan.spared_outbound();
    rules.extend(addresses(&spared, "return"));
    rules.extend(ports(&plan.outbound_spared_ports, "return"));
    let redirect = format!("counter redirect to :{}", plan.proxy.outbound_port);
    match &plan.outbound {
        Which::All => rules.push(format!("meta l4proto tcp {redirect}")),
        Which::Only(only) => {
            rules.extend(addresses(only, &format!("meta l4proto tcp {redirect}")));
        }
    }
    Chain {
        name: "outbound",
        rules,
    }
}

/// The way back to the proxy of what the application answers to a client whose address was kept.
fn answers(plan: &Plan) -> Chain {
    let mark = format!("{:#010x}", plan.mark);
    let hook = "type route hook output priority -150; policy accept;";
    let asked = who(plan).into_iter().map(|who| {
        format!("meta l4proto tcp oifname \"lo\" {who} fib saddr type != local ct mark set {mark}")
    });
    let mut rules = vec![hook.to_owned()];
    rules.extend(asked);
    rules.push(format!(
        "ct direction reply ct mark {mark} meta mark set {mark}"
    ));
    Chain {
        name: "answers",
        rules,
    }
}

/// The proxy, by its users and groups.
fn who(plan: &Plan) -> Vec<String> {
    let uids = plan
        .proxy
        .uids
        .iter()
        .map(|uid| format!("meta skuid {uid}"));
    let gids = plan
        .proxy
        .gids
        .iter()
        .map(|gid| format!("meta skgid {gid}"));
    uids.chain(gids).collect()
}

fn unless_ipv6(plan: &Plan) -> impl Iterator<Item = String> {
    (!plan.ipv6)
        .then(|| "meta nfproto ipv6 return".to_owned())
        .into_iter()
}

/// The ports that are captured, to `verdict`.
fn captured(plan: &Plan, verdict: &str) -> Option<String> {
    match &plan.inbound {
        Which::All => Some(format!("meta l4proto tcp {verdict}")),
        Which::Only(only) => ports(only, verdict),
    }
}

fn ports(ports: &Ports, verdict: &str) -> Option<String> {
    let ranges = ports.ranges().iter().map(|range| range.written('-'));
    Some(format!("tcp dport {} {verdict}", set(ranges.collect())?))
}

fn addresses(addresses: &Addresses, verdict: &str) -> impl Iterator<Item = String> {
    let families = [("ip", true), ("ip6", false)];
    families.into_iter().filter_map(move |(name, ipv4)| {
        let set = set(addresses.ranges(ipv4))?;
        Some(format!("{name} daddr {set} {verdict}"))
    })
}

/// A set; one of a single element is listed as that.
fn set(mut items: Vec<String>) -> Option<String> {
    match items.len() {
        0 | 1 => items.pop(),
        _ => Some(format!("{{ {} }}", items.join(", "))),
    }
}
