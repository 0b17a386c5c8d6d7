//! The headers by which the two sides agree on a protocol: structured fields, a list and an item of it.

/// Reads a list of strings or tokens, parameters skipped. Anything else means that there is no offer, as the format
/// asks.
pub(super) fn parse(field: &str) -> Vec<String> {
    list(field).unwrap_or_default()
}

/// Reads one string or token, parameters skipped.
pub(super) fn parse_item(field: &str) -> Option<String> {
    let (item, rest) = item(field.trim_matches(' '))?;
    parameters(rest)?.is_empty().then_some(item)
}

/// Writes a list of strings. `None` where one has characters that cannot be in one.
pub(super) fn write(names: &[&str]) -> Option<String> {
    let strings: Option<Vec<_>> = names.iter().map(|name| string(name)).collect();
    strings.map(|strings| strings.join(", "))
}

/// Writes one string. `None` where it has characters that cannot be in one.
pub(super) fn string(text: &str) -> Option<String> {
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
    let mut items = Vec::new();
    let mut rest = field.trim_matches(' ');
    while !rest.is_empty() {
        let next;
        (next, rest) = item(rest)?;
        items.push(next);
        rest = parameters(rest)?.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return None;
        }
    }
    Some(items)
}

/// A string or a token at the front, and what follows it.
fn item(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return quoted(text);
    }
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') {
        return None;
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    let (token, rest) = text.split_at_checked(end)?;
    Some((token.to_owned(), rest))
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
    fn strings_and_tokens_are_read_in_order_and_parameters_are_skipped() {
        assert_eq!(parse(r#""moqt-16", "moq-00""#), ["moqt-16", "moq-00"]);
        assert_eq!(parse(r#" "a";q=1;x;y="b,\"c" ,"d" "#), ["a", "d"]);
        assert_eq!(parse(r#""say \"a\\b\"""#), [r#"say "a\b""#]);
        assert_eq!(parse("moqt-16,moq-00;q=1 , \"x\""), ["moqt-16", "moq-00", "x"]);
        assert_eq!(parse_item(" moqt-16;a ").as_deref(), Some("moqt-16"));
        assert_eq!(parse_item("\"moqt 16\"").as_deref(), Some("moqt 16"));
    }

    #[test]
    fn anything_else_is_no_offer() {
        for field in
            ["", "1", "-a", r#""a" "b""#, r#""a","#, r#""a"#, r#""\a""#, "\"\u{e9}\"", r#""a", (b)"#, "a b"]
        {
            assert!(parse(field).is_empty(), "{field}");
        }
        for field in ["", "1", "a, b", "a b", r#""a"#, "é"] {
            assert_eq!(parse_item(field), None, "{field}");
        }
    }

    #[test]
    fn a_written_list_reads_back() {
        let names = ["", "moqf-02", r#"a"b\c"#];
        assert_eq!(parse(&write(&names).unwrap()), names);
        for text in names {
            assert_eq!(parse_item(&string(text).unwrap()).as_deref(), Some(text));
        }
        assert_eq!(write(&["a", "a\nb"]), None);
    }
}
