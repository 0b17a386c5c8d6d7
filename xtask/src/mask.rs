//! Rust source with comments and the insides of literals blanked out, line for line.

/// What a search for code should look at: the same lines, with spaces in place of comments and text in quotes.
pub(crate) fn code_only(source: &str) -> String {
    let mut masker = Masker { rest: source, out: String::with_capacity(source.len()) };
    while masker.step() {}
    masker.out
}

struct Masker<'a> {
    rest: &'a str,
    out: String,
}

impl Masker<'_> {
    /// Takes one token, or one character, from the front; `false` at the end.
    fn step(&mut self) -> bool {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(end) = self.raw_string() {
            self.blank(end);
        } else if self.rest.starts_with('"') {
            self.blank(quoted(self.rest, '"'));
        } else if self.rest.starts_with('\'') && is_char_literal(self.rest) {
            self.blank(quoted(self.rest, '\''));
        } else {
            let Some(next) = self.rest.chars().next() else { return false };
            self.out.push(next);
            self.advance(next.len_utf8());
        }
        true
    }

    fn blank(&mut self, len: usize) {
        let (gone, _) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.advance(len);
    }

    fn advance(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// The length of `r"..."`, `r#"..."#`, if one starts here rather than in the middle of a name.
    fn raw_string(&self) -> Option<usize> {
        let inside_name = self.out.chars().next_back().is_some_and(|c| c.is_alphanumeric() && c != 'b');
        let after = self.rest.strip_prefix('r').filter(|_| !inside_name)?;
        let body = after.trim_start_matches('#');
        let hashes = after.len() - body.len();
        let body = body.strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close).map_or(body.len(), |at| at + close.len());
        Some(1 + hashes + 1 + end)
    }
}

/// The length of a block comment, nested ones included.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a literal up to its closing quote, escapes skipped.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        code_only(source).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_and_strings_are_blank_and_lines_stay() {
        let source = "let a = \"x // \\\" y\"; // z\n/* b /* c */\n d */ let e = 1;";
        assert_eq!(words(source), ["let", "a", "=", ";", "let", "e", "=", "1;"]);
        assert_eq!(code_only(source).lines().count(), source.lines().count());
    }

    #[test]
    fn raw_strings_end_with_as_many_hashes_as_they_began() {
        assert_eq!(words("f(r#\"a \" b\"#, br\"c\\\", d)"), ["f(", ",", "b", ",", "d)"]);
        assert_eq!(words("for\"x\" y"), ["for", "y"]);
    }

    #[test]
    fn lifetimes_are_no_literals() {
        assert_eq!(
            words("fn f<'a>(c: &'a u8) { '\\'' ; '\"' ; x }"),
            ["fn", "f<'a>(c:", "&'a", "u8)", "{", ";", ";", "x", "}"]
        );
    }

    #[test]
    fn what_never_ends_is_blank_to_the_end() {
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a \"b"), ["a"]);
        assert_eq!(words("a r#\"b\""), ["a"]);
    }
}
