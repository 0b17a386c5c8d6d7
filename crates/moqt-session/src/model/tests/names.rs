//! Announced names and those who watch them.

use moqt_wire::Namespace;

use super::now_or_never;
use crate::model::*;

fn under(prefix: &str) -> Interest {
    Interest::Prefix(prefix.parse().unwrap())
}

fn name(text: &str) -> Namespace {
    text.parse().unwrap()
}

fn changes(watch: &mut AnnounceConsumer) -> Vec<Announced> {
    std::iter::from_fn(|| now_or_never(watch.next())?).collect()
}

#[test]
fn a_watch_begins_with_what_is_there_and_follows_what_changes() {
    use Announced::{Active, CaughtUp, Ended};
    let names = AnnounceProducer::new();
    assert!(names.insert(name("meeting/1")) && !names.insert(name("meeting/1")));
    names.insert(name("meeting-1"));
    let mut watch = names.watch(under("meeting"));
    assert_eq!(changes(&mut watch), [Active(name("meeting/1")), CaughtUp]);
    names.insert(name("meeting"));
    names.insert(name("meeting-2"));
    assert!(names.remove(&name("meeting/1")) && !names.remove(&name("meeting/1")));
    assert_eq!(changes(&mut watch), [Active(name("meeting")), Ended(name("meeting/1"))]);
    drop(names);
    assert_eq!(now_or_never(watch.next()), Some(None));
}

#[test]
fn a_watch_that_is_not_read_holds_each_name_once() {
    use Announced::{Active, CaughtUp, Ended};
    let names = AnnounceProducer::new();
    let mut watch = names.watch(under(""));
    for _ in 0..1000 {
        names.insert(name("flaps"));
        names.remove(&name("flaps"));
    }
    assert_eq!(changes(&mut watch), [CaughtUp], "what came and went is left out");
    names.insert(name("flaps"));
    assert_eq!(changes(&mut watch), [Active(name("flaps"))]);
    names.remove(&name("flaps"));
    names.insert(name("flaps"));
    assert_eq!(changes(&mut watch), [Ended(name("flaps")), Active(name("flaps"))], "gone and back is told");
}

#[test]
fn a_set_that_is_being_learned_catches_up_when_it_is_told() {
    use Announced::{Active, CaughtUp};
    let names = AnnounceProducer::learning();
    let mut watch = names.watch(under(""));
    names.insert(name("a"));
    assert_eq!(changes(&mut watch), [Active(name("a"))]);
    names.insert(name("b"));
    names.caught_up();
    assert_eq!(changes(&mut watch), [Active(name("b")), CaughtUp]);
}

#[tokio::test]
async fn a_group_on_its_own_is_read_as_long_as_a_reader_is_left() {
    let (mut writing, mut group, mut unread) =
        GroupProducer::alone(7, 3, &Retention::default(), &CacheBudget::unlimited());
    writing.write_frame("three").unwrap();
    writing.write_frame("four").unwrap();
    assert!(!group.seek(2), "it begins behind that");
    assert!(group.seek(4));
    assert_eq!(group.read_frame().await.unwrap().unwrap(), "four");
    let clone = group.clone();
    drop(group);
    assert!(unread.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Empty));
    drop(clone);
    assert!(unread.await.is_err());
}
