//! The plan for iptables: chains of our own, and a jump to each from a built-in chain.
//!
//! Rules are written as `iptables-save` writes them, which is the same for both kinds of backends.

use super::plan::{Mode, Plan};
use super::ranges::{Ports, Which};
use super::rules::{Block, Rules};

/// What the names of our chains begin with.
pub(super) const PREFIX: &str = "WEFT_";

/// Ports that one rule can name; a range counts twice.
const MULTIPORT_MAX: usize = 15;

/// IPv4 or IPv6, each of which has tables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The rules for one family.
pub(super) fn rules(plan: &Plan, family: Family) -> Rules {
    let mut blocks = Vec::new();
    if plan.captures_inbound() && plan.mode == Mode::Tproxy {
        blocks.push(block(
            "mangle",
            "PREROUTING",
            vec![jump("PREROUTING", "INBOUND")],
        ));
        blocks.push(block("mangle", "OUTPUT", vec![jump("OUTPUT", "ANSWERS")]));
        blocks.push(ours("mangle", "INBOUND", inbound(plan, family)));
        blocks.push(ours("mangle", "ANSWERS", answers(plan)));
    }
    if plan.captures_inbound() && plan.mode == Mode::Redirect {
        blocks.push(block(
            "nat",
            "PREROUTING",
            vec![jump("PREROUTING", "INBOUND")],
        ));
        blocks.push(ours("nat", "INBOUND", inbound(plan, family)));
    }
    blocks.push(block("nat", "OUTPUT", vec![jump("OUTPUT", "OUTBOUND")]));
    if plan.captures_inbound() {
        blocks.push(ours("nat", "TO_SELF", to_self(plan, family)));
    }
    blocks.push(ours("nat", "OUTBOUND", outbound(plan, family)));
    Rules::new(blocks)
}

fn block(table: &str, chain: &str, lines: Vec<String>) -> Block {
    Block::new(format!("{table} {chain}"), lines)
}

fn jump(from: &str, to: &str) -> String {
    format!("-A {from} -p tcp -j {PREFIX}{to}")
}

fn ours(table: &str, chain: &str, rules: Vec<String>) -> Block {
    let chain = format!("{PREFIX}{chain}");
    let rules = rules.iter().map(|rule| format!("-A {chain} {rule}"));
    block(table, &chain, rules.collect())
}

fn inbound(plan: &Plan, family: Family) -> Vec<String> {
    let mut rules = vec!["-i lo -j RETURN".to_owned()];
    if plan.mode == Mode::Tproxy {
        rules.push("-m conntrack --ctdir REPLY -j RETURN".to_owned());
    }
    rules.push("-m addrtype ! --dst-type LOCAL -j RETURN".to_owned());
    rules.extend(ports(&plan.spared_inbound(), "RETURN"));
    let port = plan.proxy.inbound_port;
    let any = match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    };
    rules.extend(captured(
        plan,
        &match plan.mode {
            Mode::Redirect => format!("REDIRECT --to-ports {port}"),
            Mode::Tproxy => format!("TPROXY --on-port {port} --on-ip {any} --tproxy-mark 0x0/0x0"),
        },
    ));
    rules
}

fn to_self(plan: &Plan, family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    if plan.mode == Mode::Tproxy {
        rules.push("-m addrtype ! --src-type LOCAL -j RETURN".to_owned());
    }
    rules.push(match family {
        Family::V4 => "-d 127.0.0.0/8 -j RETURN".to_owned(),
        Family::V6 => "-d ::1/128 -j RETURN".to_owned(),
    });
    rules.extend(ports(&plan.spared_inbound(), "RETURN"));
    let port = plan.proxy.inbound_port;
    rules.extend(captured(plan, &format!("REDIRECT --to-ports {port}")));
    rules
}

fn outbound(plan: &Plan, family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    let who = who(plan);
    if plan.captures_inbound() {
        let to_self = |who: &String| format!("-o lo {who} -j {PREFIX}TO_SELF");
        rules.extend(who.iter().map(to_self));
    }
    rules.push("-o lo -j RETURN".to_owned());
    rules.extend(who.iter().map(|who| format!("{who} -j RETURN")));
    let ipv4 = family == Family::V4;
    let spared = plan.spared_outbound();
    let spared = spared.of_family(ipv4);
    rules.extend(spared.map(|network| format!("-d {network} -j RETURN")));
    rules.extend(ports(&plan.outbound_spared_ports, "RETURN"));
    let redirect = format!("-p tcp -j REDIRECT --to-ports {}", plan.proxy.outbound_port);
    match &plan.outbound {
        Which::All => rules.push(redirect),
        Which::Only(only) => {
            let only = only.of_family(ipv4);
            rules.extend(only.map(|network| match network.length {
                0 => redirect.clone(),
                _ => format!("-d {network} {redirect}"),
            }));
        }
    }
    rules
}

fn answers(plan: &Plan) -> Vec<String> {
    let mark = format!("{:#x}", plan.mark);
    let asked = who(plan).into_iter().map(|who| {
        format!(
            "-o lo {who} -m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark {mark}/0xffffffff"
        )
    });
    let mut rules: Vec<String> = asked.collect();
    rules.push(format!(
        "-m conntrack --ctdir REPLY -m connmark --mark {mark} -j MARK --set-xmark {mark}/0xffffffff"
    ));
    rules
}

fn who(plan: &Plan) -> Vec<String> {
    let uids = plan.proxy.uids.iter();
    let uids = uids.map(|uid| format!("-m owner --uid-owner {uid}"));
    let gids = plan.proxy.gids.iter();
    let gids = gids.map(|gid| format!("-m owner --gid-owner {gid}"));
    uids.chain(gids).collect()
}

fn captured(plan: &Plan, target: &str) -> Vec<String> {
    match &plan.inbound {
        Which::All => vec![format!("-p tcp -j {target}")],
        Which::Only(only) => ports(only, target),
    }
}

fn ports(ports: &Ports, target: &str) -> Vec<String> {
    let mut rules = Vec::new();
    let (mut some, mut count) = (Vec::new(), 0);
    for range in ports.ranges() {
        let takes = if range.first == range.last { 1 } else { 2 };
        if count + takes > MULTIPORT_MAX {
            rules.push(std::mem::take(&mut some));
            count = 0;
        }
        count += takes;
        some.push(range.written(':'));
    }
    if !some.is_empty() {
        rules.push(some);
    }
    let rules = rules.into_iter().map(|some| some.join(","));
    rules
        .map(|some| format!("-p tcp -m multiport --dports {some} -j {target}"))
        .collect()
}

/// What `iptables-restore --noflush` is given to put `wanted` in the place of `in_force`: nothing of it is what others have made.
///
/// A table is replaced in one step. Within it our chains are filled before anything jumps to them.
pub(super) fn restore(wanted: &Rules, in_force: &Rules) -> String {
    let mut text = String::new();
    for table in tables(wanted, in_force) {
        let of_table = |rules: &Rules| -> Vec<(String, Vec<String>)> {
            let blocks = rules.blocks().iter().filter_map(|block| {
                let (name, chain) = block.name.split_once(' ')?;
                (name == table).then(|| (chain.to_owned(), block.lines.clone()))
            });
            blocks.collect()
        };
        let (wanted, in_force) = (of_table(wanted), of_table(in_force));
        text.push_str(&format!("*{table}\n"));
        for (chain, _) in wanted.iter().filter(|(chain, _)| is_ours(chain)) {
            // Made, or emptied.
            text.push_str(&format!(":{chain} - [0:0]\n"));
        }
        for (_, lines) in in_force.iter().filter(|(chain, _)| !is_ours(chain)) {
            for line in lines.iter().filter(|line| is_jump(line)) {
                text.push_str(&format!("{}\n", line.replacen("-A", "-D", 1)));
            }
        }
        for (_, lines) in wanted.iter().filter(|(chain, _)| is_ours(chain)) {
            lines
                .iter()
                .for_each(|line| text.push_str(&format!("{line}\n")));
        }
        let gone =
            |chain: &&(String, _)| is_ours(&chain.0) && !wanted.iter().any(|it| it.0 == chain.0);
        for step in ["-F", "-X"] {
            for (chain, _) in in_force.iter().filter(gone) {
                text.push_str(&format!("{step} {chain}\n"));
            }
        }
        for (chain, lines) in wanted.iter().filter(|(chain, _)| !is_ours(chain)) {
            for line in lines.iter().filter(|line| is_jump(line)).rev() {
                let first = line.replacen(&format!("-A {chain}"), &format!("-I {chain} 1"), 1);
                text.push_str(&format!("{first}\n"));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The tables that either has something in.
fn tables(wanted: &Rules, in_force: &Rules) -> Vec<String> {
    let blocks = wanted.blocks().iter().chain(in_force.blocks());
    let mut tables: Vec<String> = blocks
        .filter_map(|block| block.name.split_once(' '))
        .map(|(table, _)| table.to_owned())
        .collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

pub(super) fn is_ours(chain: &str) -> bool {
    chain.starts_with(PREFIX)
}

/// Whether a rule leads to a chain of ours.
pub(super) fn is_jump(rule: &str) -> bool {
    let mut words = rule.split(' ');
    words.any(|word| word == "-j" || word == "-g") && words.next().is_some_and(is_ours)
}
