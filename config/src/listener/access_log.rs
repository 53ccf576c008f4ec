//! Reading access logs.

#![expect(deprecated, reason = "older forms that are still written are read too")]

use weft_xds_proto::pb::envoy::config::accesslog::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3::{
    SubstitutionFormatString, substitution_format_string::Format,
};
use weft_xds_proto::pb::envoy::extensions::access_loggers::file::v3 as file;
use weft_xds_proto::pb::envoy::extensions::access_loggers::stream::v3 as stream;
use weft_xds_proto::pb::google::protobuf::{Struct, value::Kind};

use super::{AccessLog, AccessLogFormat};
use crate::access_log::compile;
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{type_name, unpack};

impl AccessLog {
    /// Reads a list of access logs. One that goes where nothing can be written is left out with a warning: requests pass
    /// as before. A format that cannot be compiled is a fault.
    pub(super) fn parse_all(
        protos: &[pb::AccessLog],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Vec<Self> {
        let mut logs = Vec::with_capacity(protos.len());
        for (index, proto) in protos.iter().enumerate() {
            let at = at.field("access_log").index(index);
            let Some(log) = Self::parse(proto, &at, diag) else {
                continue;
            };
            let compiled = compile(&log).map_err(|error| error.to_string());
            if diag.keep(at.field("typed_config"), compiled).is_some() {
                logs.push(log);
            }
        }
        logs
    }

    fn parse(proto: &pb::AccessLog, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        use pb::access_log::ConfigType;
        if proto.filter.is_some() {
            let why = "is not supported yet, every request is logged";
            diag.warn(at.field("filter"), why);
        }
        let Some(ConfigType::TypedConfig(config)) = &proto.config_type else {
            diag.warn(at.field("typed_config"), "is missing");
            return None;
        };
        let at = at.field("typed_config");
        match type_name(config) {
            "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
                Self::to_file(&unpack(config, &at, diag)?, &at, diag)
            }
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
                use stream::stdout_access_log::AccessLogFormat::LogFormat;
                let proto: stream::StdoutAccessLog = unpack(config, &at, diag)?;
                let LogFormat(format) = proto.access_log_format.unwrap_or(LogFormat(plain()));
                Some(Self::to_stream("/dev/stdout", &format, &at, diag))
            }
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
                use stream::stderr_access_log::AccessLogFormat::LogFormat;
                let proto: stream::StderrAccessLog = unpack(config, &at, diag)?;
                let LogFormat(format) = proto.access_log_format.unwrap_or(LogFormat(plain()));
                Some(Self::to_stream("/dev/stderr", &format, &at, diag))
            }
            name => {
                diag.warn(
                    at,
                    format!("{name} is not supported, nothing is logged to it"),
                );
                None
            }
        }
    }

    fn to_file(
        proto: &file::FileAccessLog,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use file::file_access_log::AccessLogFormat as Given;
        if proto.path.is_empty() {
            diag.warn(at.field("path"), "is empty, nothing is logged to it");
            return None;
        }
        let format = match &proto.access_log_format {
            None => AccessLogFormat::Text,
            Some(Given::Format(text)) => text_format(text),
            Some(Given::JsonFormat(object) | Given::TypedJsonFormat(object)) => {
                json_format(object, &at.field("json_format"), diag)
            }
            Some(Given::LogFormat(format)) => log_format(format, &at.field("log_format"), diag),
        };
        Some(Self {
            path: proto.path.as_str().into(),
            format,
        })
    }

    fn to_stream(
        path: &str,
        format: &SubstitutionFormatString,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        Self {
            path: path.into(),
            format: log_format(format, &at.field("log_format"), diag),
        }
    }
}

/// No format: Envoy's default line.
fn plain() -> SubstitutionFormatString {
    SubstitutionFormatString::default()
}

fn text_format(text: &str) -> AccessLogFormat {
    match text {
        "" => AccessLogFormat::Text,
        text => AccessLogFormat::Pattern(text.into()),
    }
}

fn log_format(
    proto: &SubstitutionFormatString,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> AccessLogFormat {
    use weft_xds_proto::pb::envoy::config::core::v3::data_source::Specifier;
    if !proto.formatters.is_empty() {
        diag.warn(at.field("formatters"), "are not supported and ignored");
    }
    match &proto.format {
        None => AccessLogFormat::Text,
        Some(Format::TextFormat(text)) => text_format(text),
        Some(Format::JsonFormat(object)) => json_format(object, &at.field("json_format"), diag),
        Some(Format::TextFormatSource(source)) => match &source.specifier {
            Some(Specifier::InlineString(text)) => text_format(text),
            _ => {
                let why = "only inline_string is supported, the default format is used";
                diag.warn(at.field("text_format_source"), why);
                AccessLogFormat::Text
            }
        },
    }
}

/// A flat object; what nests is left out with a warning.
fn json_format(object: &Struct, at: &FieldPath, diag: &mut Diagnostics) -> AccessLogFormat {
    let mut fields = Vec::with_capacity(object.fields.len());
    for (name, value) in &object.fields {
        let text = match &value.kind {
            Some(Kind::StringValue(text)) => text.clone(),
            Some(Kind::NumberValue(number)) => number.to_string(),
            Some(Kind::BoolValue(bool)) => bool.to_string(),
            _ => {
                diag.warn(
                    at.key(name),
                    "only strings are supported, the field is left out",
                );
                continue;
            }
        };
        fields.push((name.clone(), text));
    }
    fields.sort();
    AccessLogFormat::JsonPattern(fields.into())
}
