//! One file for both directions of a sidecar.

use super::{AccessLog, AccessLogFormat, JSON, TEXT};
use crate::listener::Direction;

impl AccessLog {
    /// This log for traffic in one direction, which each line names first: for a file that both are written to.
    pub fn of_direction(&self, direction: Direction) -> Self {
        let direction = direction.as_str();
        let text = |format: &str| format!("{direction} {format}").into();
        let json = |fields: &mut dyn Iterator<Item = (String, String)>| {
            let first = ("direction".to_owned(), direction.to_owned());
            std::iter::once(first).chain(fields).collect()
        };
        let format = match &self.format {
            AccessLogFormat::Text => AccessLogFormat::Pattern(text(TEXT)),
            AccessLogFormat::Pattern(format) => AccessLogFormat::Pattern(text(format)),
            AccessLogFormat::Json => {
                let mut fields = JSON
                    .iter()
                    .map(|(name, format)| ((*name).to_owned(), (*format).to_owned()));
                AccessLogFormat::JsonPattern(json(&mut fields))
            }
            AccessLogFormat::JsonPattern(fields) => {
                AccessLogFormat::JsonPattern(json(&mut fields.iter().cloned()))
            }
        };
        Self {
            path: self.path.clone(),
            format,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::{Compiled, Part, compile};

    fn compiled(format: AccessLogFormat) -> Compiled {
        let path = "/dev/stdout".into();
        let log = AccessLog { path, format }.of_direction(Direction::Outbound);
        compile(&log).unwrap()
    }

    #[test]
    fn each_line_names_its_direction_first() {
        for format in [
            AccessLogFormat::Text,
            AccessLogFormat::Pattern("%PROTOCOL%".into()),
        ] {
            let Compiled::Text(parts) = compiled(format) else {
                panic!("not text")
            };
            let Some(Part::Literal(first)) = parts.first() else {
                panic!("{parts:?}")
            };
            assert!(first.starts_with("outbound "), "{first}");
        }
        for format in [
            AccessLogFormat::Json,
            AccessLogFormat::JsonPattern([("a".to_owned(), "%PROTOCOL%".to_owned())].into()),
        ] {
            let Compiled::Json(fields) = compiled(format) else {
                panic!("not JSON")
            };
            let (name, parts) = fields.first().unwrap();
            assert_eq!(name, "direction");
            assert_eq!(*parts, [Part::Literal("outbound".to_owned())]);
            assert!(fields.len() > 1);
        }
    }
}
