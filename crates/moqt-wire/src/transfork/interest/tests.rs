//! Tests of interests.

use super::*;
use crate::message::Message;
use crate::transfork::AnnouncePlease;
use crate::version::Version;

fn path(text: &str) -> Namespace {
    text.parse().unwrap()
}

fn please(interest: Interest) -> AnnouncePlease {
    AnnouncePlease { interest }
}

#[test]
fn a_prefix_goes_out_as_the_nearest_pattern_where_paths_are_joined() {
    let spec = Version::TRANSFORK_04_RS12.spec();
    for (prefix, pattern) in [("", ""), ("meeting", "meeting/*"), ("a/b", "a/b/*")] {
        let prefix = please(Interest::Prefix(path(prefix))).to_bytes(spec);
        assert_eq!(prefix, please(Interest::Pattern(Pattern::new(pattern))).to_bytes(spec));
    }
    let star = please(Interest::Prefix(path("a*"))).to_bytes(spec).unwrap_err();
    assert_eq!(star.kind, EncodeErrorKind::Name(NameError::Reserved { character: '*' }));
}

#[test]
fn a_pattern_does_not_go_out_where_paths_have_parts() {
    for version in [Version::TRANSFORK_03, Version::TRANSFORK_04, Version::TRANSFORK_04_RS9] {
        let error = please(Interest::Pattern(Pattern::any())).to_bytes(version.spec()).unwrap_err();
        assert_eq!((error.field, error.kind), ("interest", EncodeErrorKind::Unsupported { version }));
    }
}

#[test]
fn suffix_and_capture_lead_back_to_the_path() {
    let track = path("meeting/1234/alice");
    let prefix = Interest::Prefix(path("meeting"));
    let pattern = Interest::Pattern(Pattern::new("meeting/*"));
    for interest in [prefix, pattern] {
        let suffix = interest.matches(&track).unwrap();
        assert_eq!(suffix, path("1234/alice"));
        assert_eq!(interest.full_path(&suffix), Ok(track.clone()));
        assert_eq!(interest.matches(&path("other")), None);
    }
}

#[test]
fn a_prefix_matches_itself_and_a_pattern_below_it_does_not() {
    let meeting = path("meeting");
    assert_eq!(Interest::Prefix(meeting.clone()).matches(&meeting), Some(Namespace::EMPTY));
    assert_eq!(Interest::Pattern(Pattern::below(&meeting).unwrap()).matches(&meeting), None);
}
