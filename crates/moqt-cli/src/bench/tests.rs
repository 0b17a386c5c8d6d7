//! Names of tracks.

use super::*;

#[test]
fn tracks_are_named_by_publisher_and_kind() {
    let name = track_name(&"a/b".parse().unwrap(), 3, "video").unwrap();
    assert_eq!(name.to_string(), "a/b/3/video");
}
