//! Tests of patterns.

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> Namespace {
    text.parse().unwrap()
}

#[test]
fn patterns_match_as_the_table_says() {
    let table = [
        ("", "meeting/1234", Some("meeting/1234")),
        ("*", "meeting/1234", Some("meeting/1234")),
        ("", "", Some("")),
        ("meeting/*", "meeting/1234/alice", Some("1234/alice")),
        ("meeting/*", "meeting", None),
        ("meeting/*", "meeting-2/1234", None),
        ("meeting*", "meeting-2", Some("-2")),
        ("meeting*", "meeting", Some("")),
        ("*/alice", "meeting/1234/alice", Some("meeting/1234")),
        ("*/alice", "alice", None),
        ("*/alice", "/alice", Some("")),
        ("meeting/*/alice", "meeting/1234/alice", Some("1234")),
        ("meeting/*/alice", "meeting/alice", None),
        ("meeting/*/alice", "meeting//alice", Some("")),
        ("a*a", "a", None),
        ("a*a", "aa", Some("")),
        ("meeting/1234", "meeting/1234", Some("")),
        ("meeting/1234", "meeting/1234/alice", None),
        ("a*b*c", "axb*c", Some("x")),
        ("a*b*c", "axbyc", None),
        ("/*", "/clock", Some("clock")),
        ("*", "/clock", Some("/clock")),
    ];
    for (pattern, text, capture) in table {
        let found = Pattern::new(pattern).matches(&path(text));
        assert_eq!(found, capture.map(path), "{pattern} on {text}");
    }
}

#[test]
fn a_path_without_joined_text_is_matched_by_nothing() {
    for path in [path("a%2Fb"), path("%FF"), Namespace::from_parts([""])] {
        assert_eq!(Pattern::any().matches(&path), None, "{path:?}");
    }
}

#[test]
fn patterns_can_be_made_of_names() {
    assert_eq!(Pattern::below(&Namespace::EMPTY), Ok(Pattern::any()));
    assert_eq!(Pattern::below(&path("meeting")).unwrap().as_str(), "meeting/*");
    assert_eq!(Pattern::covering(&Namespace::EMPTY), Ok(Pattern::any()));
    assert_eq!(Pattern::covering(&path("meeting")).unwrap().as_str(), "meeting*");
    assert_eq!(Pattern::exact(&path("meeting/1234")).unwrap().as_str(), "meeting/1234");
    assert_eq!(Pattern::exact(&Namespace::EMPTY), Err(NameError::NoParts));
    let star = Err(NameError::Reserved { character: '*' });
    assert_eq!(Pattern::below(&path("a*b")), star);
    assert_eq!(Pattern::covering(&path("a*b")), star);
    assert_eq!(Pattern::exact(&path("a*b")), star);
    assert_eq!(Pattern::below(&path("a%2Fb")), Err(NameError::Reserved { character: '/' }));
}

#[test]
fn the_pattern_of_everything_has_one_form_on_the_wire_and_another_in_logs() {
    assert_eq!(Pattern::new("*"), Pattern::any());
    assert_eq!(Pattern::any().as_str(), "");
    assert_eq!(Pattern::any().to_string(), "*");
}

#[test]
fn an_exact_pattern_is_its_own_path_whatever_the_capture() {
    let pattern = Pattern::new("meeting/1234");
    assert_eq!(pattern.full_path(&path("anything")), Ok(path("meeting/1234")));
}

#[test]
fn a_capture_without_text_is_refused() {
    let slash = NameError::Reserved { character: '/' };
    assert_eq!(Pattern::new("a/*").full_path(&path("b%2Fc")), Err(slash));
}

proptest! {
    #[test]
    fn what_was_captured_leads_back_to_the_path(pattern in "[ab/*]{0,4}", text in "[ab/]{0,6}") {
        let (pattern, path) = (Pattern::new(pattern), path(&text));
        if let Some(capture) = pattern.matches(&path) {
            prop_assert_eq!(pattern.full_path(&capture), Ok(path));
        }
    }
}
