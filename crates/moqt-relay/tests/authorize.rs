//! The hook that decides who may do what.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::sync::Arc;

use common::*;
use moqt::{Announced, FetchOptions, FullTrackName, GroupError, Namespace, Reason, SessionError};
use moqt_relay::{Authorize, Visitor};

/// Whoever says `token=writer` may publish below `open`, `token=reader` may read there, and nobody else may come.
#[derive(Debug)]
struct Tokens;

impl Authorize for Tokens {
    fn begin(&self, visitor: &Visitor) -> Result<(), Reason> {
        if visitor.path.contains("token=") { Ok(()) } else { Err(Reason::Unauthorized) }
    }

    fn subscribe(&self, _: &Visitor, name: &FullTrackName) -> Result<(), Reason> {
        if name.to_string().starts_with("open/") { Ok(()) } else { Err(Reason::Unauthorized) }
    }

    fn publish(&self, visitor: &Visitor, _: &Namespace) -> Result<(), Reason> {
        if visitor.path.ends_with("token=writer") { Ok(()) } else { Err(Reason::Unauthorized) }
    }
}

fn guarded() -> TestRelay {
    let mut options = options();
    options.authorize = Some(Arc::new(Tokens));
    TestRelay::with(options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_come_is_told_why() {
    bounded(async {
        let relay = guarded();
        for scheme in SCHEMES {
            // Over WebTransport the refusal comes when the session has just begun.
            if let Ok(session) = relay.client().connect(&relay.url(scheme, "/room")).await {
                let end = session.closed().await;
                assert!(matches!(end, SessionError::Closed { reason: Reason::Unauthorized, .. }), "{end:?}");
            }
            let _welcome = relay.connect_to(scheme, "/room?token=reader").await;
        }
        assert_eq!(relay.counters().refused_total, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_announcements_are_refused_one_by_one() {
    bounded(async {
        for scheme in SCHEMES {
            let relay = guarded();
            let writer = relay.connect_to(scheme, "/room?token=writer").await;
            let reader = relay.connect_to(scheme, "/room?token=reader").await;
            let (open, _open) = writer.publish("open/cam");
            let (_closed, _also) = writer.publish("closed/cam");
            let (_foreign, _ignored) = reader.publish("open/mine");
            write(open.append_group(), &[b"x"]);

            // What may not be published is not there; what may not be read is.
            let mut names = reader.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
            let mut seen = vec![names.next().await.unwrap(), names.next().await.unwrap()];
            seen.retain(|event| *event != Announced::CaughtUp);
            while seen.len() < 2 {
                seen.push(names.next().await.unwrap());
                seen.retain(|event| *event != Announced::CaughtUp);
            }
            seen.sort();
            assert_eq!(seen, [active("closed/cam"), active("open/cam")]);

            let mut track = reader.try_subscribe("open/cam").await.unwrap();
            assert_eq!(read(&mut track).await.0, 0);
            assert_eq!(refused(reader.try_subscribe("closed/cam").await), Reason::Unauthorized);
            assert_eq!(refused(reader.info("closed/cam").await), Reason::Unauthorized);
            let subscriber = reader.session.subscriber();
            let fetched = subscriber.fetch(name("closed/cam"), 0, FetchOptions::default()).await.unwrap();
            let refused = fetched.into_group().read_frame().await.unwrap_err();
            assert_eq!(refused, GroupError::Reset(Reason::Unauthorized));
            // The session goes on.
            assert_eq!(reader.info("open/cam").await.unwrap().latest, Some(0));
            until("four refusals", || relay.counters().refused_total == 4).await;
        }
    })
    .await;
}
