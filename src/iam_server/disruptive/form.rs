//! The form of a token request: URL-encoded, as most send it, or in parts, as public examples for Node do.

use axum::http::{HeaderMap, header};

use crate::iam_server::token::Form;

/// Reads a form, of which only what matters is kept.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Form {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match kind.and_then(boundary) {
        Some(boundary) => in_parts(&boundary, &String::from_utf8_lossy(body)),
        None => Form::parse(body),
    }
}

/// What stands between the parts.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    (!value.is_empty()).then(|| format!("--{value}"))
}

fn in_parts(boundary: &str, body: &str) -> Form {
    let mut form = Form::default();
    for part in body.split(boundary) {
        let Some((head, value)) = part.split_once("\r\n\r\n") else { continue };
        let value = value.strip_suffix("\r\n").unwrap_or(value).to_owned();
        let has_name = |name: &str| head.contains(&format!("; name=\"{name}\""));
        if has_name("grant_type") {
            form.grant = Some(value);
        } else if has_name("assertion") {
            form.assertion = Some(value);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam_server::token::JWT_BEARER;

    fn of(content_type: &str, body: &str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        read(&headers, body.as_bytes())
    }

    #[test]
    fn both_encodings_are_read() {
        let encoded = format!("assertion=a.b.c&grant_type={}", JWT_BEARER.replace(':', "%3A"));
        let form = of("application/x-www-form-urlencoded", &encoded);
        assert_eq!((form.grant.as_deref(), form.assertion.as_deref()), (Some(JWT_BEARER), Some("a.b.c")));
        let parts = format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"assertion\"\r\n\r\na.b.c\r\n--xyz\r\n\
             Content-Disposition: form-data; name=\"grant_type\"\r\n\r\n{JWT_BEARER}\r\n--xyz--\r\n"
        );
        for kind in ["multipart/form-data; boundary=xyz", "Multipart/Form-Data; boundary=\"xyz\""] {
            let form = of(kind, &parts);
            assert_eq!((form.grant.as_deref(), form.assertion.as_deref()), (Some(JWT_BEARER), Some("a.b.c")));
        }
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "text/plain"] {
            assert_eq!(of(kind, &parts).assertion, None, "{kind}");
        }
    }
}
