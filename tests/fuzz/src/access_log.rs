//! What must hold of access log formats: any text is compiled or refused, as a line and as a field alike.

use weft_config::access_log::{Compiled, compile};
use weft_config::listener::{AccessLog, AccessLogFormat};

pub(crate) fn format(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let log = |format| AccessLog {
        path: "/dev/stdout".into(),
        format,
    };
    let line = compile(&log(AccessLogFormat::Pattern(text.into())));
    let fields = [("field".to_owned(), text.to_owned())];
    let json = compile(&log(AccessLogFormat::JsonPattern(fields.into())));
    match (line, json) {
        (Ok(Compiled::Text(parts)), Ok(Compiled::Json(fields))) => {
            assert_eq!(fields, [("field".to_owned(), parts)]);
        }
        (Err(line), Err(json)) => assert_eq!(line, json),
        (line, json) => panic!("not alike: {line:?}, {json:?}"),
    }
}
