//! Rules as blocks of lines, read from what the tools list, and compared.

use std::fmt;

use super::iptables::{is_jump, is_ours};

/// A chain (or another part of a table) and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is called: `chain outbound`, or table and chain: `nat WEFT_OUTBOUND`.
    pub name: String,
    /// Its rules, in order.
    pub lines: Vec<String>,
}

impl Block {
    pub(super) fn new(name: String, lines: Vec<String>) -> Self {
        Self { name, lines }
    }
}

/// All that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Block>);

impl Rules {
    pub(super) fn new(blocks: Vec<Block>) -> Self {
        Self(blocks)
    }

    /// The blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.0
    }

    /// Whether nothing of ours is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what `nft list table` says.
    pub(super) fn of_nft(listing: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut depth = 0;
        for line in listing.lines().map(str::trim) {
            match (depth, line) {
                (_, "") => {}
                (0, _) if line.ends_with('{') => depth = 1,
                (1, _) if line.ends_with('{') => {
                    depth = 2;
                    let name = line.trim_end_matches('{').trim();
                    blocks.push(Block::new(name.to_owned(), Vec::new()));
                }
                (1, "}") => depth = 0,
                (2, "}") => depth = 1,
                (1, _) => blocks.push(Block::new("table".to_owned(), vec![line.to_owned()])),
                _ => {
                    if let Some(block) = blocks.last_mut() {
                        block.lines.push(line.to_owned());
                    }
                }
            }
        }
        Self(blocks)
    }

    /// Reads what `iptables-save` says: our chains, and of the others what leads to ours with whatever stands before that.
    pub(super) fn of_save(listing: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut table = "";
        for line in listing.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(' ').next().unwrap_or_default();
                blocks.push(Block::new(format!("{table} {chain}"), Vec::new()));
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let chain = rule.split(' ').next().unwrap_or_default();
                let name = format!("{table} {chain}");
                let block = blocks.iter_mut().rfind(|block| block.name == name);
                if let Some(block) = block {
                    block.lines.push(line.to_owned());
                }
            }
        }
        blocks.retain_mut(|block| {
            let chain = block.name.split(' ').nth(1).unwrap_or_default();
            if is_ours(chain) {
                return true;
            }
            let last = block.lines.iter().rposition(|line| is_jump(line));
            block.lines.truncate(last.map_or(0, |last| last + 1));
            !block.lines.is_empty()
        });
        Self(blocks)
    }

    fn find(&self, name: &str) -> Option<&Block> {
        self.0.iter().find(|block| block.name == name)
    }

    /// What is in force but not planned, or the other way round.
    pub(super) fn differences(&self, in_force: &Self, place: &str) -> Vec<Difference> {
        let mut differences = Vec::new();
        for wanted in &self.0 {
            let at = format!("{place}, {}", wanted.name);
            match in_force.find(&wanted.name) {
                None => differences.push(Difference::NoBlock { at }),
                Some(found) => compare(&at, &wanted.lines, &found.lines, &mut differences),
            }
        }
        let unknown = in_force.0.iter().filter(|it| self.find(&it.name).is_none());
        differences.extend(unknown.map(|block| Difference::ExtraBlock {
            at: format!("{place}, {}", block.name),
        }));
        differences
    }
}

fn compare(at: &str, wanted: &[String], found: &[String], differences: &mut Vec<Difference>) {
    let (mut missing, mut extra) = (wanted.to_vec(), found.to_vec());
    for line in found {
        if let Some(index) = missing.iter().position(|it| it == line) {
            missing.remove(index);
        }
    }
    for line in wanted {
        if let Some(index) = extra.iter().position(|it| it == line) {
            extra.remove(index);
        }
    }
    let at = || at.to_owned();
    if missing.is_empty() && extra.is_empty() && wanted != found {
        differences.push(Difference::Order { at: at() });
    }
    let missing = missing.into_iter();
    differences.extend(missing.map(|rule| Difference::Missing { at: at(), rule }));
    let extra = extra.into_iter();
    differences.extend(extra.map(|rule| Difference::Extra { at: at(), rule }));
}

/// Where what is in force is not what was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A chain is missing.
    NoBlock {
        /// Which.
        at: String,
    },
    /// A chain is there that is not planned.
    ExtraBlock {
        /// Which.
        at: String,
    },
    /// A rule is missing.
    Missing {
        /// Of which chain.
        at: String,
        /// The rule.
        rule: String,
    },
    /// A rule is there that is not planned, or stands before ours.
    Extra {
        /// In which chain.
        at: String,
        /// The rule.
        rule: String,
    },
    /// The rules are there, in another order.
    Order {
        /// In which chain.
        at: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlock { at } => write!(f, "{at}: is missing"),
            Self::ExtraBlock { at } => write!(f, "{at}: is not in the plan"),
            Self::Missing { at, rule } => write!(f, "{at}: missing: {rule}"),
            Self::Extra { at, rule } => write!(f, "{at}: not in the plan: {rule}"),
            Self::Order { at } => write!(f, "{at}: the rules stand in another order"),
        }
    }
}
