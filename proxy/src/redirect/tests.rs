use proptest::prelude::*;

use super::backend::Backend;
use super::iptables::{Family, restore, rules};
use super::nft::{removal, table, transaction};
use super::*;

/// A plan with the defaults of the command line.
fn plan(mode: Mode) -> Plan {
    Plan {
        mode,
        ipv6: true,
        proxy: ProxyUser {
            uids: vec![1337],
            gids: vec![1338],
            inbound_port: 15_006,
            outbound_port: 15_001,
        },
        inbound: Which::All,
        inbound_spared: Ports::default(),
        outbound: Which::All,
        outbound_spared: Addresses::default(),
        outbound_spared_ports: Ports::default(),
        mark: 0x539,
        table: 133,
    }
}

fn ports(text: &str) -> Ports {
    text.parse().unwrap()
}

#[test]
fn the_table_captures_both_ways_and_spares_the_proxy() {
    let text = table(&plan(Mode::Redirect));
    let expected = r#"table inet weft {
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		meta l4proto tcp jump inbound
	}

	chain inbound {
		iifname "lo" return
		fib daddr type != local return
		tcp dport { 15000-15001, 15006, 15010, 15012, 15014, 15017, 15020-15021 } return
		meta l4proto tcp counter redirect to :15006
	}

	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto tcp jump outbound
	}

	chain to_self {
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		tcp dport { 15000-15001, 15006, 15010, 15012, 15014, 15017, 15020-15021 } return
		meta l4proto tcp counter redirect to :15006
	}

	chain outbound {
		oifname "lo" meta skuid 1337 jump to_self
		oifname "lo" meta skgid 1338 jump to_self
		oifname "lo" return
		meta skuid 1337 return
		meta skgid 1338 return
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		meta l4proto tcp counter redirect to :15001
	}
}
"#;
    assert_eq!(text, expected);
}

#[test]
fn tproxy_leaves_answers_alone_and_knows_their_way_back() {
    let text = table(&plan(Mode::Tproxy));
    for rule in [
        "type filter hook prerouting priority -150; policy accept;",
        "ct direction reply return",
        "meta l4proto tcp counter tproxy to :15006 accept",
        "type route hook output priority -150; policy accept;",
        "meta l4proto tcp oifname \"lo\" meta skuid 1337 fib saddr type != local ct mark set 0x00000539",
        "ct direction reply ct mark 0x00000539 meta mark set 0x00000539",
    ] {
        assert!(text.contains(rule), "{rule} is not in {text}");
    }
    assert!(!table(&plan(Mode::Redirect)).contains("mark"));
}

#[test]
fn one_transaction_replaces_the_table_and_names_no_other() {
    let text = transaction(&plan(Mode::Redirect));
    assert!(text.starts_with("table inet weft\ndelete table inet weft\ntable inet weft {\n"));
    assert_eq!(text.matches("table ").count(), 3);
    assert_eq!(removal().lines().count(), 2);
}

#[test]
fn where_nothing_is_captured_inbound_there_is_no_such_chain() {
    let mut plan = plan(Mode::Tproxy);
    plan.inbound = Which::Only(Ports::default());
    let text = table(&plan);
    assert!(!text.contains("prerouting"), "{text}");
    assert!(!text.contains("15006 accept"), "{text}");
    assert!(text.contains("redirect to :15001"), "{text}");
    let rules = rules(&plan, Family::V4);
    assert!(
        rules
            .blocks()
            .iter()
            .all(|block| !block.name.contains("PREROUTING"))
    );
}

#[test]
fn without_ipv6_each_packet_filter_captures_ipv4_alone() {
    let mut plan = plan(Mode::Redirect);
    plan.ipv6 = false;
    assert_eq!(table(&plan).matches("meta nfproto ipv6 return").count(), 2);
    let iptables = Backend::Iptables(Variant::System);
    assert!(iptables.wanted(&plan, false).is_empty());
    assert!(!iptables.wanted(&plan, true).is_empty());
}

#[test]
fn jumps_come_last_and_ours_go_first() {
    let wanted = rules(&plan(Mode::Redirect), Family::V4);
    let text = restore(&wanted, &Rules::default());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "*nat");
    assert_eq!(lines[lines.len() - 1], "COMMIT");
    assert_eq!(
        lines[lines.len() - 2],
        "-I OUTPUT 1 -p tcp -j WEFT_OUTBOUND"
    );
    assert_eq!(
        lines[lines.len() - 3],
        "-I PREROUTING 1 -p tcp -j WEFT_INBOUND"
    );
    let jump = lines
        .iter()
        .position(|line| line.starts_with("-I"))
        .unwrap();
    let last = lines.iter().rposition(|line| line.starts_with("-A WEFT_"));
    assert!(last.unwrap() < jump);
}

#[test]
fn what_is_in_force_is_taken_out_by_its_own_words() {
    let listing = "*nat\n:PREROUTING ACCEPT [1:2]\n:OUTPUT ACCEPT [0:0]\n:THEIRS - [0:0]\n:WEFT_OUTBOUND - [0:0]\n:WEFT_OLD - [0:0]\n\
        -A PREROUTING -j THEIRS\n-A OUTPUT -d 10.0.0.1/32 -j ACCEPT\n-A OUTPUT -p tcp -j WEFT_OUTBOUND\n-A OUTPUT -j THEIRS\n\
        -A WEFT_OUTBOUND -j WEFT_OLD\nCOMMIT\n";
    let in_force = Rules::of_save(listing);
    let text = restore(&Rules::default(), &in_force);
    let expected = "*nat\n-D OUTPUT -p tcp -j WEFT_OUTBOUND\n-F WEFT_OUTBOUND\n-F WEFT_OLD\n-X WEFT_OUTBOUND\n-X WEFT_OLD\nCOMMIT\n";
    assert_eq!(text, expected);
    // Others' rules before ours are known, those behind are nobody's business.
    let output = in_force.blocks().iter().find(|it| it.name == "nat OUTPUT");
    assert_eq!(output.unwrap().lines.len(), 2);
}

#[test]
fn a_rule_names_at_most_fifteen_ports_of_iptables() {
    let mut plan = plan(Mode::Redirect);
    let many: Vec<String> = (1..100).map(|port| (port * 2).to_string()).collect();
    plan.inbound_spared = ports(&format!("{},300-400", many.join(",")));
    let rules = rules(&plan, Family::V6);
    for block in rules.blocks() {
        for line in block.lines.iter().filter(|line| line.contains("--dports")) {
            let list = line.split(' ').skip_while(|it| *it != "--dports").nth(1);
            let weight: usize = list
                .unwrap()
                .split(',')
                .map(|it| 1 + it.matches(':').count())
                .sum();
            assert!(weight <= 15, "{line}");
        }
    }
}

#[test]
fn ports_and_networks_are_ordered_and_merged() {
    let merged = ports("8080, 80,81-90,85-95,96,443");
    let written: Vec<String> = merged.ranges().iter().map(|it| it.written('-')).collect();
    assert_eq!(written, ["80-96", "443", "8080"]);
    let all: Addresses = "10.1.0.0/16,10.0.0.0/8,192.0.2.1,::1,10.0.0.0/8"
        .parse()
        .unwrap();
    let four: Vec<String> = all.of_family(true).map(|it| it.to_string()).collect();
    assert_eq!(four, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(all.ranges(false), ["::1"]);
    let touching: Addresses = "10.0.1.0/24,10.0.2.0/24,10.0.4.0/24,fd00::/9,fd80::/9"
        .parse()
        .unwrap();
    assert_eq!(
        touching.ranges(true),
        ["10.0.1.0-10.0.2.255", "10.0.4.0/24"]
    );
    assert_eq!(touching.ranges(false), ["fd00::/8"]);
    let everything: Addresses = "0.0.0.0/0,::/0".parse().unwrap();
    assert_eq!(everything.ranges(true), ["0.0.0.0/0"]);
    assert_eq!(everything.ranges(false), ["::/0"]);
}

#[test]
fn what_is_no_port_and_no_network_is_refused() {
    for text in ["0", "65536", "80-", "-80", "90-80", "http", "80,,81", "8 0"] {
        assert!(text.parse::<Ports>().is_err(), "{text}");
    }
    for text in [
        "10.0.0.0/33",
        "10.0.0",
        "fd00::/129",
        "10.0.0.1/8",
        "a",
        "10.0.0.0/8/8",
        "/8",
    ] {
        assert!(text.parse::<Addresses>().is_err(), "{text}");
    }
    assert_eq!("*".parse(), Ok(Which::<Ports>::All));
    assert_eq!("none".parse(), Ok(Which::Only(Ports::default())));
    assert!("".parse::<Ports>().unwrap().is_empty());
}

#[test]
fn differences_are_told_in_words() {
    let plan = plan(Mode::Redirect);
    let wanted = Rules::of_nft(&table(&plan));
    let in_force = table(&plan)
        .replace("\t\tmeta skuid 1337 return\n", "")
        .replace("chain to_self", "chain elsewhere");
    let differences = wanted.differences(&Rules::of_nft(&in_force), "here");
    let said: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let expected = [
        "here, chain to_self: is missing",
        "here, chain outbound: missing: meta skuid 1337 return",
        "here, chain elsewhere: is not in the plan",
    ];
    assert_eq!(said, expected);
    let turned = table(&plan).replace(
        "\t\tmeta skuid 1337 return\n\t\tmeta skgid 1338 return\n",
        "\t\tmeta skgid 1338 return\n\t\tmeta skuid 1337 return\n",
    );
    let differences = wanted.differences(&Rules::of_nft(&turned), "here");
    assert_eq!(differences.len(), 1);
    assert!(differences[0].to_string().contains("another order"));
}

proptest! {
    #[test]
    fn a_listing_of_anything_is_read_without_harm(text in "[ \\t\\n{}*:A-Za-z0-9_-]{0,200}") {
        drop(Rules::of_nft(&text));
        drop(Rules::of_save(&text));
    }

    #[test]
    fn merged_ports_are_the_same_ports(ranges in prop::collection::vec((1u16..2000, 0u16..50), 0..20)) {
        let ranges: Vec<PortRange> = ranges
            .into_iter()
            .map(|(first, more)| PortRange { first, last: first + more })
            .collect();
        let merged = Ports::of(ranges.clone());
        let holds = |ranges: &[PortRange], port| ranges.iter().any(|it| (it.first..=it.last).contains(&port));
        for port in 0..2100 {
            prop_assert_eq!(holds(&ranges, port), holds(merged.ranges(), port));
        }
        for pair in merged.ranges().windows(2) {
            prop_assert!(pair[0].last + 1 < pair[1].first);
        }
    }
}
