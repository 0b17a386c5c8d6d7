//! The first bytes of a session: versions, encodings, extensions, and peers that never get that far.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::{BufMut, Bytes, BytesMut};
use common::*;
use moqt_session::{Config, Handshake, PeerMisbehaved, Reason, SessionError};
use moqt_sim::{Sim, SimConnection, for_each_seed, script::Peer};
use moqt_transport::Code;
use moqt_wire::{
    Message, Version,
    transfork::{EXT_PATH, Extensions, SessionClient, SessionServer, SessionUpdate, StreamKind, code},
};

const CODE_03: u64 = 0xff0b_ad03;
const CODE_04: u64 = 0xff0b_ad04;

fn speaks(versions: &[Version]) -> Config {
    let mut config = Config::default();
    config.versions = versions.to_vec();
    config
}

fn offer(versions: &[u64], extensions: Extensions) -> SessionClient {
    SessionClient { versions: versions.to_vec(), extensions }
}

/// The error of a server with this configuration, and the scripted client that it met.
async fn refused_by_server<F: Future<Output = Peer>>(
    sim: &Sim,
    config: Config,
    client: impl FnOnce(Peer) -> F,
) -> (SessionError, Peer) {
    let (near, far) = sim.connect(calm());
    let (peer, session) = tokio::join!(client(Peer::client(near)), Handshake::accept(far, config));
    (session.err().unwrap(), peer)
}

/// The error of a client with this configuration, and the scripted server that it met.
async fn refused_by_client<F: Future<Output = Peer>>(
    sim: &Sim,
    config: Config,
    server: impl FnOnce(Peer) -> F,
) -> (SessionError, Peer) {
    let (near, far) = sim.connect(calm());
    let (session, peer) = tokio::join!(Handshake::connect(near, config), server(Peer::server(far)));
    (session.err().unwrap(), peer)
}

/// Opens the Session stream, writes these bytes behind its type and keeps the stream open.
async fn says(mut peer: Peer, bytes: impl Into<Bytes>) -> Peer {
    let mut stream = peer.open(StreamKind::Session).await;
    stream.send_raw(bytes).await;
    keep(&mut peer, stream);
    peer
}

/// A stream that stays open as long as the world does.
fn keep<T>(_peer: &mut Peer, stream: T) {
    std::mem::forget(stream);
}

#[test]
fn the_server_takes_its_own_first_choice_among_the_versions_that_the_client_offers() {
    let (v3, v4) = (Version::TRANSFORK_03, Version::TRANSFORK_04);
    let table: [(&[Version], &[u64], Version); 7] = [
        (&[v4, v3], &[CODE_04, CODE_03], v4),
        (&[v4, v3], &[CODE_03, CODE_04], v4),
        (&[v4, v3], &[CODE_03], v3),
        (&[v3, v4], &[CODE_04, CODE_03], v3),
        (&[v3], &[CODE_04, CODE_03], v3),
        (&[v4], &[0, 0x3fff_ffff_ffff_ffff, CODE_04], v4),
        (&[v4], &[CODE_04, CODE_04], v4),
    ];
    for (ours, theirs, chosen) in table {
        for_each_seed(|sim| async move {
            let (near, far) = sim.connect(calm());
            let mut peer = Peer::client(near);
            let hello = offer(theirs, marked_04());
            let (answer, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, speaks(ours)));
            assert_eq!(answer.version, chosen.spec().code, "{ours:?} {theirs:x?}");
            assert_eq!(session.unwrap().version(), chosen, "{ours:?} {theirs:x?}");
        });
    }
}

#[test]
fn the_client_accepts_each_version_that_it_offered_and_names_each_number_once() {
    let (v3, v4) = (Version::TRANSFORK_03, Version::TRANSFORK_04);
    let table: [(&[Version], &[u64], u64, Version); 4] = [
        (&[v4, v3], &[CODE_04, CODE_03], CODE_04, v4),
        (&[v4, v3], &[CODE_04, CODE_03], CODE_03, v3),
        (&[v4, Version::TRANSFORK_04_RS12, v3], &[CODE_04, CODE_03], CODE_04, v4),
        (&[v3], &[CODE_03], CODE_03, v3),
    ];
    for (ours, on_the_wire, answer, chosen) in table {
        for_each_seed(|sim| async move {
            let (near, far) = sim.connect(calm());
            let mut peer = Peer::server(far);
            let server = async {
                assert_eq!(peer.expect_offer().await.versions, on_the_wire);
                let extensions = if answer == CODE_04 { marked_04() } else { Extensions::new() };
                peer.answer(&SessionServer { version: answer, extensions }).await;
            };
            let (session, ()) = tokio::join!(Handshake::connect(near, speaks(ours)), server);
            assert_eq!(session.unwrap().version(), chosen);
        });
    }
}

#[test]
fn without_a_common_version_the_server_ends_with_9_and_knows_what_was_offered() {
    for_each_seed(|sim| async move {
        let ours = speaks(&[Version::TRANSFORK_03]);
        let (error, peer) = refused_by_server(&sim, ours, |peer| {
            says(
                peer,
                offer(&[CODE_04, 7], Extensions::new()).to_bytes(Version::TRANSFORK_04.spec()).unwrap(),
            )
        })
        .await;
        assert!(matches!(&error, SessionError::Version { offered } if *offered == [CODE_04, 7]), "{error:?}");
        peer.expect_close(code::VERSION).await;
    });
}

#[test]
fn without_a_common_version_the_client_learns_just_that() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let (client, server) = tokio::join!(
            Handshake::connect(near, speaks(&[Version::TRANSFORK_04])),
            Handshake::accept(far, speaks(&[Version::TRANSFORK_03])),
        );
        let (client, server) = (client.err().unwrap(), server.err().unwrap());
        assert!(matches!(client, SessionError::Version { .. }), "{client:?}");
        assert!(matches!(server, SessionError::Version { .. }), "{server:?}");
    });
}

#[test]
fn a_session_stream_reset_or_stopped_with_9_says_that_there_is_no_common_version() {
    for stop in [false, true] {
        for_each_seed(|sim| async move {
            let (error, _peer) = refused_by_client(&sim, Config::default(), |mut peer| async move {
                peer.expect_offer().await;
                peer.session().reset(code::VERSION);
                if stop {
                    peer.session().stop(code::VERSION);
                }
                peer
            })
            .await;
            assert!(matches!(error, SessionError::Version { .. }), "{error:?}");
        });
    }
}

#[test]
fn an_answer_that_was_not_offered_closes_with_9() {
    for answer in [0, CODE_03, 0xff0b_ad05] {
        for_each_seed(|sim| async move {
            let ours = speaks(&[Version::TRANSFORK_04]);
            let (error, peer) = refused_by_client(&sim, ours, |mut peer| async move {
                peer.expect_offer().await;
                peer.answer(&SessionServer { version: answer, extensions: marked_04() }).await;
                peer
            })
            .await;
            let rule = PeerMisbehaved::VersionNotOffered(answer);
            assert!(matches!(&error, SessionError::Peer(broken) if *broken == rule), "{error:?}");
            peer.expect_close(code::VERSION).await;
        });
    }
}

#[test]
fn the_encoding_behind_04_is_the_draft_if_both_sides_say_so_and_what_is_configured_otherwise() {
    let (draft, rs12, rs9) = (Version::TRANSFORK_04, Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9);
    let with = |payload: &'static [u8]| Extensions::from_iter([(0x0f04, payload)]);
    let table = [
        // Whether we know the draft, what they say, what we are configured for, what comes of it.
        (true, with(&[1]), rs12, draft),
        (true, with(&[1]), rs9, draft),
        (true, Extensions::new(), rs12, rs12),
        (true, Extensions::new(), rs9, rs9),
        (true, Extensions::new(), draft, draft),
        (true, with(&[2]), rs12, rs12),
        (true, with(&[]), rs12, rs12),
        (true, with(&[1, 0]), rs12, rs12),
        (false, with(&[1]), rs12, rs12),
    ];
    for (knows, theirs, unmarked, expected) in table {
        let mut ours = speaks(&[if knows { draft } else { rs12 }]);
        ours.unmarked_04 = unmarked;
        for_each_seed(|sim| {
            let (theirs, ours) = (theirs.clone(), ours.clone());
            async move {
                let (near, far) = sim.connect(calm());
                let mut peer = Peer::client(near);
                let hello = offer(&[CODE_04], theirs.clone());
                let (answer, session) =
                    tokio::join!(peer.offer(&hello), Handshake::accept(far, ours.clone()));
                assert_eq!(session.unwrap().version(), expected, "server: {theirs:?}");
                assert_eq!(answer.extensions.contains(0x0f04), knows);

                let (near, far) = sim.connect(calm());
                let mut peer = Peer::server(far);
                let server = async {
                    assert_eq!(peer.expect_offer().await.extensions.contains(0x0f04), knows);
                    peer.answer(&SessionServer { version: CODE_04, extensions: theirs.clone() }).await;
                };
                let (session, ()) = tokio::join!(Handshake::connect(near, ours), server);
                assert_eq!(session.unwrap().version(), expected, "client: {theirs:?}");
            }
        });
    }
}

#[test]
fn extensions_of_another_number_of_version_have_no_say() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let hello = offer(&[CODE_03], marked_04());
        let (_, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, Config::default()));
        assert_eq!(session.unwrap().version(), Version::TRANSFORK_03);
    });
}

#[test]
fn an_unknown_extension_is_ignored() {
    for_each_seed(|sim| async move {
        let strange =
            || Extensions::from_iter([(0x0f04, &[1][..]), (0, &[2]), (0x7777, &[0xff; 100]), (77, &[])]);
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let hello = offer(&[CODE_04], strange());
        let (answer, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, Config::default()));
        assert_eq!(session.unwrap().version(), Version::TRANSFORK_04);
        // What was not understood is not in force, so it is not said either.
        assert_eq!(answer.extensions.iter().map(|e| e.id).collect::<Vec<_>>(), [0x0f04, 0x0f05]);

        let (near, far) = sim.connect(calm());
        let mut peer = Peer::server(far);
        let server = async {
            peer.expect_offer().await;
            peer.answer(&SessionServer { version: CODE_04, extensions: strange() }).await;
        };
        let (session, ()) = tokio::join!(Handshake::connect(near, Config::default()), server);
        assert_eq!(session.unwrap().version(), Version::TRANSFORK_04);
    });
}

/// Two extensions with the same id, behind a version or a list with one.
fn said_twice(list: bool) -> Bytes {
    let mut bytes = BytesMut::new();
    if list {
        bytes.put_u8(1);
    }
    bytes.put_u64(0xc000_0000_0000_0000 | CODE_04);
    bytes.put_slice(&[2, 0x40, 77, 1, 9, 0x40, 77, 1, 9]);
    bytes.freeze()
}

#[test]
fn an_extension_said_twice_is_refused_with_5() {
    for_each_seed(|sim| async move {
        let (error, peer) =
            refused_by_server(&sim, Config::default(), |peer| says(peer, said_twice(true))).await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::Malformed(_))), "{error:?}");
        peer.expect_close(code::DECODE).await;

        let (error, peer) = refused_by_client(&sim, Config::default(), |mut peer| async move {
            peer.expect_offer().await;
            peer.session().send_raw(said_twice(false)).await;
            peer
        })
        .await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::Malformed(_))), "{error:?}");
        peer.expect_close(code::DECODE).await;
    });
}

#[test]
fn the_clients_path_reaches_the_server() {
    for path in [None, Some("/room/1234"), Some("/a?b=c&d=ü"), Some("")] {
        for_each_seed(|sim| async move {
            let (near, far) = sim.connect(calm());
            let mut client = Config::default();
            client.path = path.map(str::to_owned);
            let (client, server) =
                tokio::join!(Handshake::connect(near, client), Handshake::accept(far, Config::default()));
            let (client, server) = (client.unwrap(), server.unwrap());
            assert_eq!(server.path(), path);
            assert_eq!(start(server).session.path(), path);
            drop(client);
        });
    }
}

#[test]
fn a_path_that_is_not_text_is_refused_with_5() {
    for_each_seed(|sim| async move {
        let (error, peer) = refused_by_server(&sim, Config::default(), |mut peer| async move {
            let extensions = Extensions::from_iter([(EXT_PATH, Bytes::from_static(b"/room/\xff"))]);
            let mut stream = peer.open(StreamKind::Session).await;
            stream.send(&offer(&[CODE_04], extensions)).await;
            keep(&mut peer, stream);
            peer
        })
        .await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::Malformed(_))), "{error:?}");
        peer.expect_close(code::DECODE).await;
    });
}

#[test]
fn a_path_from_a_server_is_refused_with_15() {
    for_each_seed(|sim| async move {
        let (error, peer) = refused_by_client(&sim, Config::default(), |mut peer| async move {
            peer.expect_offer().await;
            let extensions = Extensions::from_iter([(EXT_PATH, "/room")]);
            peer.answer(&SessionServer { version: CODE_04, extensions }).await;
            peer
        })
        .await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::UnexpectedPath)), "{error:?}");
        peer.expect_close(code::PROTOCOL_VIOLATION).await;
    });
}

#[test]
fn a_handshake_message_cut_short_at_any_byte_closes_with_5() {
    let extensions = Extensions::from_iter([(EXT_PATH, "/room")]);
    let spec = Version::TRANSFORK_04.spec();
    let whole = offer(&[CODE_04, CODE_03], extensions).to_bytes(spec).unwrap();
    for cut in 0..whole.len() {
        let part = whole.slice(..cut);
        moqt_sim::Seeds::default().count(1).run(move |sim| {
            let part = part.clone();
            async move {
                let (error, peer) = refused_by_server(&sim, Config::default(), |mut peer| async move {
                    let mut stream = peer.open(StreamKind::Session).await;
                    stream.send_raw(part).await;
                    stream.finish();
                    keep(&mut peer, stream);
                    peer
                })
                .await;
                let rule = PeerMisbehaved::EndedEarly("session client");
                assert!(matches!(&error, SessionError::Peer(broken) if *broken == rule), "{error:?}");
                peer.expect_close(code::DECODE).await;
            }
        });
    }
    let answer = SessionServer { version: CODE_04, extensions: marked_04() }.to_bytes(spec).unwrap();
    for cut in 0..answer.len() {
        let part = answer.slice(..cut);
        moqt_sim::Seeds::default().count(1).run(move |sim| {
            let part = part.clone();
            async move {
                let (error, peer) = refused_by_client(&sim, Config::default(), |mut peer| async move {
                    peer.expect_offer().await;
                    peer.session().send_raw(part).await;
                    peer.session().finish();
                    peer
                })
                .await;
                let rule = PeerMisbehaved::EndedEarly("session server");
                assert!(matches!(&error, SessionError::Peer(broken) if *broken == rule), "{error:?}");
                peer.expect_close(code::DECODE).await;
            }
        });
    }
}

#[test]
fn a_first_stream_of_another_type_closes_with_10() {
    for first in [1, 2, 3, 4, 5, 0x0f05, 1 << 40] {
        for_each_seed(|sim| async move {
            let (error, peer) = refused_by_server(&sim, Config::default(), |mut peer| async move {
                let mut stream = peer.open_bi().await;
                stream.send_varint(first).await;
                keep(&mut peer, stream);
                peer
            })
            .await;
            let rule = PeerMisbehaved::NotSessionFirst(first);
            assert!(matches!(&error, SessionError::Peer(broken) if *broken == rule), "{error:?}");
            peer.expect_close(code::UNEXPECTED_STREAM).await;
        });
    }
}

fn at_10_seconds(sim: &Sim, error: &SessionError) {
    assert!(matches!(error, SessionError::HandshakeTimeout), "{error:?}");
    assert!((secs(10)..secs(11)).contains(&sim.elapsed()), "{:?}", sim.elapsed());
}

#[test]
fn a_peer_that_never_says_anything_is_given_up_after_10_seconds() {
    for_each_seed(|sim| async move {
        let (error, peer) = refused_by_client(&sim, Config::default(), |mut peer| async move {
            peer.expect_offer().await;
            peer
        })
        .await;
        at_10_seconds(&sim, &error);
        peer.expect_close(code::TIMEOUT).await;
    });
    for_each_seed(|sim| async move {
        let (error, peer) = refused_by_server(&sim, Config::default(), |peer| async { peer }).await;
        at_10_seconds(&sim, &error);
        peer.expect_close(code::TIMEOUT).await;
    });
}

#[test]
fn a_peer_that_sends_a_byte_a_second_is_given_up_after_10_seconds_in_all() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let peer = Peer::client(near);
        let drips = sim.spawn(async move {
            let mut stream = peer.open(StreamKind::Session).await;
            // 40 versions, of which each byte comes alone.
            stream.send_raw(&[40][..]).await;
            for _ in 0..9 {
                tokio::time::sleep(secs(1)).await;
                stream.send_raw(&[1][..]).await;
            }
            peer.expect_close(code::TIMEOUT).await;
        });
        let error = Handshake::accept(far, Config::default()).await.err().unwrap();
        at_10_seconds(&sim, &error);
        drips.await.unwrap();
    });
}

#[test]
fn no_version_at_all_is_no_common_version_and_more_than_64_are_malformed() {
    let spec = Version::TRANSFORK_04.spec();
    let many = |count: u64| {
        let mut versions: Vec<u64> = (1..count).collect();
        versions.push(CODE_04);
        offer(&versions, marked_04())
    };
    for_each_seed(move |sim| async move {
        let none = offer(&[], Extensions::new()).to_bytes(spec).unwrap();
        let (error, peer) = refused_by_server(&sim, Config::default(), |peer| says(peer, none)).await;
        assert!(matches!(&error, SessionError::Version { offered } if offered.is_empty()), "{error:?}");
        peer.expect_close(code::VERSION).await;

        // The count alone is enough to refuse it.
        let hundred = many(100).to_bytes(spec).unwrap().slice(..2);
        let (error, peer) = refused_by_server(&sim, Config::default(), |peer| says(peer, hundred)).await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::Malformed(_))), "{error:?}");
        peer.expect_close(code::DECODE).await;

        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let most = many(64);
        let (_, session) = tokio::join!(peer.offer(&most), Handshake::accept(far, Config::default()));
        assert_eq!(session.unwrap().version(), Version::TRANSFORK_04);
    });
}

#[test]
fn a_peer_that_leaves_in_the_handshake_is_heard() {
    type Leaves = fn(SimConnection);
    type Expected = fn(&SessionError) -> bool;
    let leaves: [(Leaves, Expected); 3] = [
        (
            |peer| moqt_transport::Connection::close(&peer, Code(66), "members only"),
            |error| {
                matches!(error, SessionError::Closed { reason: Reason::Unauthorized, message }
                    if message == "members only")
            },
        ),
        (SimConnection::forget_it, |error| matches!(error, SessionError::Transport(_))),
        (|peer| drop(peer), |error| matches!(error, SessionError::Closed { reason: Reason::Cancelled, .. })),
    ];
    for (leave, expected) in leaves {
        for_each_seed(|sim| async move {
            let (near, far) = sim.connect(calm());
            let (error, ()) = tokio::join!(Handshake::connect(near, Config::default()), async {
                sim.sleep(ms(5)).await;
                leave(far);
            });
            let error = error.err().unwrap();
            assert!(expected(&error), "{error:?}");
        });
    }
}

trait ForgetIt {
    fn forget_it(self);
}

impl ForgetIt for SimConnection {
    /// Forgets the connection but keeps the address, as a process that was restarted.
    fn forget_it(self) {
        self.forget();
        std::mem::forget(self);
    }
}

#[test]
fn a_server_can_turn_a_client_down_after_the_handshake() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let hello = offer(&[CODE_04], marked_04());
        let (_, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, Config::default()));
        session.unwrap().refuse(Reason::Unauthorized);
        assert_eq!(peer.expect_close(code::UNAUTHORIZED).await, "not allowed");
    });
}

#[test]
fn a_handshake_that_is_dropped_closes_the_connection() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let hello = offer(&[CODE_04], marked_04());
        let (_, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, Config::default()));
        drop(session);
        peer.expect_close(code::CANCEL).await;
    });
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::server(far);
        let connecting = sim.spawn(Handshake::connect(near, Config::default()));
        peer.expect_offer().await;
        connecting.abort();
        peer.expect_close(code::CANCEL).await;
    });
}

#[test]
fn what_follows_the_handshake_in_the_same_bytes_is_not_lost() {
    for_each_seed(|sim| async move {
        let spec = Version::TRANSFORK_04.spec();
        let mut bytes = BytesMut::new();
        SessionServer { version: CODE_04, extensions: marked_04() }.encode(spec, &mut bytes).unwrap();
        SessionUpdate { bitrate: 2_500_000 }.encode(spec, &mut bytes).unwrap();
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::server(far);
        let server = async {
            peer.expect_offer().await;
            peer.session().send_raw(bytes.freeze()).await;
            // A request right behind, too.
            still_answers(&peer).await;
        };
        let client = async { start(Handshake::connect(near, Config::default()).await.unwrap()) };
        let (client, ()) = tokio::join!(client, server);
        assert_eq!(client.session.peer_bitrate(), Some(2_500_000));
    });
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_is_served_after_it() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let mut peer = Peer::client(near);
        let hello = offer(&[CODE_04], marked_04());
        let spec = Version::TRANSFORK_04.spec();
        let mut session = peer.open(StreamKind::Session).await;
        session.send(&hello).await;
        let asked = still_answers(&peer);
        let server = async { start(Handshake::accept(far, Config::default()).await.unwrap()) };
        let (_server, ()) = tokio::join!(server, asked);
        let answer: SessionServer = session.expect().await;
        assert_eq!((answer.version, peer.spec()), (CODE_04, spec));
        keep(&mut peer, session);
    });
}
