//! The header by which a WebTransport client offers protocols: a structured field, a list of strings.

/// Reads a list of strings, parameters skipped. Anything else means that there is no offer, as the format asks.
pub(crate) fn parse(field: &str) -> Vec<String> {
    list(field).unwrap_or_default()
}

/// Writes one string. `None` where it has characters that cannot be in one.
pub(crate) fn string(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => return None,
        }
    }
    out.push('"');
    Some(out)
}

fn list(field: &str) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    let mut rest = field.trim_matches(' ');
    while !rest.is_empty() {
        let string;
        (string, rest) = quoted(rest)?;
        strings.push(string);
        rest = parameters(rest)?.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return None;
        }
    }
    Some(strings)
}

/// A string in quotes at the front, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut string = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((string, chars.as_str())),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => string.push(c),
                _ => return None,
            },
            c @ ' '..='~' => string.push(c),
            _ => return None,
        }
    }
}

/// What follows the parameters at the front.
fn parameters(mut text: &str) -> Option<&str> {
    while let Some(parameter) = text.strip_prefix(';') {
        text = parameter.trim_start_matches(' ').trim_start_matches(is_bare);
        if let Some(value) = text.strip_prefix('=') {
            text = if value.starts_with('"') { quoted(value)?.1 } else { value.trim_start_matches(is_bare) };
        }
    }
    Some(text)
}

/// Whether a character can be in a key, a token, a number or a byte sequence.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.*:/+?!#$%&'^`|~@=".contains(c) && c != '='
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_in_order_and_parameters_are_skipped() {
        assert_eq!(parse(r#""moqt-16", "moq-00""#), ["moqt-16", "moq-00"]);
        assert_eq!(parse(r#" "a";q=1;x;y="b,\"c" ,"d" "#), ["a", "d"]);
        assert_eq!(parse(r#""say \"a\\b\"""#), [r#"say "a\b""#]);
    }

    #[test]
    fn anything_else_is_no_offer() {
        for field in ["", "moqt-16", r#""a" "b""#, r#""a","#, r#""a"#, r#""\a""#, "\"\u{e9}\"", r#""a", b"#] {
            assert!(parse(field).is_empty(), "{field}");
        }
    }

    #[test]
    fn a_written_string_reads_back() {
        for text in ["", "moqf-02", r#"a"b\c"#] {
            assert_eq!(parse(&string(text).unwrap()), [text]);
        }
        assert_eq!(string("a\nb"), None);
    }
}
