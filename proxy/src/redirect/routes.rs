//! The policy route of TPROXY: packets with our mark are delivered to this machine, whatever their destination.

use super::plan::{Mode, Plan};
use super::rules::{Block, Rules};
use super::tool::{Tool, ToolError};

/// The routes of one family that `plan` needs.
pub(super) fn wanted(plan: &Plan, ipv4: bool) -> Rules {
    let needed = plan.mode == Mode::Tproxy && plan.captures_inbound() && (ipv4 || plan.ipv6);
    if !needed {
        return Rules::default();
    }
    let (rule, route) = lines(plan);
    Rules::new(vec![
        Block::new("rules".to_owned(), vec![rule]),
        Block::new(format!("table {}", plan.table), vec![route.to_owned()]),
    ])
}

/// How they are written in the comparison.
fn lines(plan: &Plan) -> (String, &'static str) {
    let rule = format!("from all fwmark {:#x} lookup {}", plan.mark, plan.table);
    (rule, "local default dev lo")
}

fn ip() -> Result<Tool, ToolError> {
    Tool::find(
        "ip",
        "iproute2",
        "policy routing (IP_MULTIPLE_TABLES, IPV6_MULTIPLE_TABLES)",
    )
}

fn family(ipv4: bool) -> &'static str {
    if ipv4 { "-4" } else { "-6" }
}

/// What is in force of what a plan with this mark and table has; without `ip`, which nobody can have used then, nothing.
pub(super) async fn in_force(plan: &Plan, ipv4: bool) -> Result<Rules, ToolError> {
    let ip = match ip() {
        Ok(ip) => ip,
        Err(_) => return Ok(Rules::default()),
    };
    let family = family(ipv4);
    let (rule, route) = lines(plan);
    let mut blocks = Vec::new();
    // A family that the kernel does not have has no rules.
    let rules = ip
        .run(&[family, "rule", "show"], "")
        .await
        .unwrap_or_default();
    let ours = rules
        .lines()
        .filter(|line| line.trim_end().ends_with(&rule));
    let ours: Vec<String> = ours.map(|_| rule.clone()).collect();
    if !ours.is_empty() {
        blocks.push(Block::new("rules".to_owned(), ours));
    }
    // A table in which there never was a route is said not to exist.
    let table = plan.table.to_string();
    let routes = ip
        .run(&[family, "route", "show", "table", &table], "")
        .await;
    let routes = routes.unwrap_or_default();
    // Others may have routes there.
    let ours = routes
        .lines()
        .filter(|line| line.trim_start().starts_with(route));
    let ours: Vec<String> = ours.map(|_| route.to_owned()).collect();
    if !ours.is_empty() {
        blocks.push(Block::new(format!("table {table}"), ours));
    }
    Ok(Rules::new(blocks))
}

/// Adds what `plan` needs and is not there. Without a mark that leads to them these routes mean nothing.
pub(super) async fn add(plan: &Plan, ipv4: bool) -> Result<(), ToolError> {
    let wanted = wanted(plan, ipv4);
    if wanted.is_empty() {
        return Ok(());
    }
    let ip = ip()?;
    let there = in_force(plan, ipv4).await?;
    let has = |name: &str| there.blocks().iter().any(|block| block.name == name);
    let (family, mark, table) = (family(ipv4), plan.mark.to_string(), plan.table.to_string());
    let route = ["local", "default", "dev", "lo", "table", &table];
    ip.run(&[&[family, "route", "replace"], &route[..]].concat(), "")
        .await?;
    if !has("rules") {
        ip.run(
            &[family, "rule", "add", "fwmark", &mark, "lookup", &table],
            "",
        )
        .await?;
    }
    Ok(())
}

/// Removes them, however often the rule is there. Other routes of the table stay.
pub(super) async fn remove(plan: &Plan, ipv4: bool) -> Result<(), ToolError> {
    let there = in_force(plan, ipv4).await?;
    if there.is_empty() {
        return Ok(());
    }
    let ip = ip()?;
    let (family, mark, table) = (family(ipv4), plan.mark.to_string(), plan.table.to_string());
    for block in there.blocks() {
        for _ in &block.lines {
            if block.name == "rules" {
                let rule = [family, "rule", "del", "fwmark", &mark, "lookup", &table];
                ip.run(&rule, "").await?;
            } else {
                let route = [
                    family, "route", "del", "local", "default", "dev", "lo", "table", &table,
                ];
                ip.run(&route, "").await?;
            }
        }
    }
    Ok(())
}
