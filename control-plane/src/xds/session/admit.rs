//! What of a request is admitted: who asks, for which type, and for how many names.

use std::sync::Arc;

use prost::Message;
use weft_xds_proto::pb::envoy::config::core::v3::Node;

use super::Session;
use crate::snapshot::ResourceType;
use crate::xds::node::NodeInfo;
use crate::xds::request::Refusal;

impl Session {
    pub(super) fn take_node(&mut self, node: Option<Node>) -> Result<(), Refusal> {
        match (&self.node, node) {
            (None, Some(node)) if !node.id.is_empty() => {
                check_node(&node)?;
                let node = NodeInfo::parse(node)?;
                self.node = Some(Arc::new(match &self.identity {
                    Some(identity) => node.proved(identity)?,
                    None => node,
                }));
                Ok(())
            }
            (None, _) => Err(Refusal::NoNode),
            (Some(was), Some(now)) if !now.id.is_empty() && now.id != *was.id => {
                Err(Refusal::NodeChanged {
                    was: was.id.to_string(),
                    now: now.id,
                })
            }
            (Some(_), _) => Ok(()),
        }
    }

    pub(super) fn kind(&self, type_url: &str) -> Result<Option<ResourceType>, Refusal> {
        match self.serves {
            Some(serves) if type_url.is_empty() || type_url == serves.type_url() => {
                Ok(Some(serves))
            }
            Some(serves) => Err(Refusal::WrongService {
                serves: serves.type_url(),
                asked: type_url.to_owned(),
            }),
            None if type_url.is_empty() => Err(Refusal::NoType),
            None => Ok(ResourceType::from_type_url(type_url)),
        }
    }

    pub(super) fn check_names(&self, names: &[String]) -> Result<(), Refusal> {
        let limit = self.limits.name_bytes_max;
        match names.iter().find(|name| name.len() > limit) {
            Some(name) => Err(Refusal::LongName {
                limit,
                got: name.len(),
            }),
            None if names.len() > self.limits.names_max => Err(Refusal::TooManyNames {
                limit: self.limits.names_max,
            }),
            None => Ok(()),
        }
    }

    /// Names of a type that is not served do not exist; they are answered once and not remembered.
    pub(super) fn note_unserved(
        &mut self,
        type_url: String,
        names: &[String],
    ) -> Result<(), Refusal> {
        if names.is_empty() {
            return Ok(());
        }
        self.check_names(std::slice::from_ref(&type_url))?;
        let limit = UNSERVED_NAMES_MAX;
        if self.unserved.len() >= UNSERVED_TYPES_MAX {
            return Err(Refusal::TooManyNames { limit });
        }
        let noted = self.unserved.entry(type_url).or_default();
        noted.extend(names.iter().map(|name| Arc::from(name.as_str())));
        match noted.len() > limit {
            true => Err(Refusal::TooManyNames { limit }),
            false => Ok(()),
        }
    }
}

/// A node is kept for as long as its stream lives.
fn check_node(node: &Node) -> Result<(), Refusal> {
    match node.encoded_len() {
        got if got > NODE_BYTES_MAX => Err(Refusal::LargeNode {
            limit: NODE_BYTES_MAX,
            got,
        }),
        // They are shown to people, in terminals too.
        _ if [&node.id, &node.cluster]
            .iter()
            .any(|it| it.contains(char::is_control)) =>
        {
            Err(Refusal::UnprintableNode)
        }
        _ => Ok(()),
    }
}

/// Bytes of a node. Envoy's, which lists every extension, has some 40 KiB.
const NODE_BYTES_MAX: usize = 256 * 1024;

/// Names of a type that is not served: who asks for more is lost here anyway.
const UNSERVED_NAMES_MAX: usize = 100;

/// Types that are not served and whose names wait to be answered.
const UNSERVED_TYPES_MAX: usize = 16;
