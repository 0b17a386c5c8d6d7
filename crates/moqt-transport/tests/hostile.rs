//! HTTP/3 peers that break rules, are slow, or say what nobody has heard of, on plain QUIC connections.

#![cfg(all(feature = "webtransport", feature = "conformance"))]
#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::time::Duration;

use bytes::Bytes;
use moqt_transport::{
    AcceptError, Code, Connection, ConnectionError, DialError, Dialer, NetConnection, RecvStream, SendStream,
    TransportOptions, WebTransportConnection, conformance::bounded,
};

use crate::{
    common::{Net, TIMEOUT, pinning},
    raw::{
        BIDI, DATA, DRAIN, GOAWAY, GREASE, RawClient, RawServer, UNI, USUAL, closing, code_of_close, connect,
        drip, frame, headers, quic_client, quic_varint, settings, varint,
    },
};

const NO_ERROR: u64 = 0x100;
const STREAM_CREATION: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const ID_ERROR: u64 = 0x108;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_REJECTED: u64 = 0x10b;
const MESSAGE_ERROR: u64 = 0x10e;
const DECOMPRESSION_FAILED: u64 = 0x200;
const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
/// Code 7 in WebTransport's range of the HTTP/3 error space.
const SEVEN: u64 = 0x52e4_a40f_a8e2;

fn net() -> Net {
    Net::new(TransportOptions::default())
}

fn session(connection: &NetConnection) -> &WebTransportConnection {
    match connection {
        NetConnection::WebTransport(session) => session,
        other => panic!("{other:?}"),
    }
}

/// The session works in both directions.
async fn lives(client: &mut RawClient, server: &NetConnection) {
    let mut sent = client.uni(&[&UNI[..], b"hello"].concat()).await;
    sent.finish().unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    assert_eq!(recv.read_chunk(100).await.unwrap().as_deref(), Some(&b"hello"[..]));
    let mut send = server.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"there")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(client.read_uni().await, [&UNI[..], b"there"].concat());
}

/// A client that says this never gets a session, and hears that code.
async fn is_thrown_out(control: &[u8], request: &[u8], code: u64) {
    let net = net();
    let serve = async {
        let accepted = net.listener.accept().await.unwrap().accept(TIMEOUT).await;
        match accepted {
            Err(AcceptError::Connection(ConnectionError::Transport(_))) => {}
            other => panic!("{code:#x}: {other:?}"),
        }
    };
    let client = async {
        let client = RawClient::say(&net, control, request).await;
        assert_eq!(code_of_close(&client.quic).await, code);
    };
    bounded(async {
        tokio::join!(serve, client);
    })
    .await;
}

#[tokio::test]
async fn before_a_session_each_broken_rule_closes_with_its_code() {
    let usual = settings(&USUAL);
    let request = connect("webtransport");
    let giant = |kind| [varint(kind), varint((1 << 62) - 1), vec![0; 100]].concat();
    for (control, request, code) in [
        (frame(GOAWAY, &[0]), &request, MISSING_SETTINGS),
        (frame(GREASE, b"x"), &request, MISSING_SETTINGS),
        (giant(0x04), &request, EXCESSIVE_LOAD),
        ([varint(0x04), varint(4097)].concat(), &request, EXCESSIVE_LOAD),
        (settings(&[(0x33, 1), (0x33, 1)]), &request, SETTINGS_ERROR),
        (settings(&[(0x33, 2)]), &request, SETTINGS_ERROR),
        (settings(&[(0x04, 2)]), &request, SETTINGS_ERROR),
        (frame(0x04, &[0x33]), &request, FRAME_ERROR),
        (usual.clone(), &frame(DATA, b"x"), FRAME_UNEXPECTED),
        (usual.clone(), &frame(0x04, b""), FRAME_UNEXPECTED),
        (usual.clone(), &giant(0x01), EXCESSIVE_LOAD),
        (usual.clone(), &[varint(0x01), varint((16 << 10) + 1)].concat(), EXCESSIVE_LOAD),
        (usual.clone(), &frame(0x01, &[0, 0, 0x80]), DECOMPRESSION_FAILED),
        (usual.clone(), &frame(0x01, &[[0xff; 30], [0x7f; 30]].concat()), DECOMPRESSION_FAILED),
        (usual.clone(), &frame(0x01, &[&[0, 0][..], &[0xdf; 4000]].concat()), EXCESSIVE_LOAD),
        (usual.clone(), &headers(&[(":method", "CONNECT"), (":path", "/")]), MESSAGE_ERROR),
        (usual.clone(), &headers(&[("Upper", "x")]), MESSAGE_ERROR),
    ] {
        is_thrown_out(&control, request, code).await;
    }
}

#[tokio::test]
async fn within_a_session_each_broken_rule_closes_with_its_code() {
    let net = net();
    for (control, connect, code) in [
        (settings(&USUAL), vec![], FRAME_UNEXPECTED),
        (frame(DATA, b"x"), vec![], FRAME_UNEXPECTED),
        (frame(0x41, b""), vec![], FRAME_ERROR),
        (vec![], headers(&[("x", "y")]), FRAME_UNEXPECTED),
        (vec![], frame(GOAWAY, &[0]), FRAME_UNEXPECTED),
        // A closing capsule without a code, and one of a gigabyte.
        (vec![], frame(DATA, &frame(raw::CLOSE, &[0, 0, 0])), MESSAGE_ERROR),
        (vec![], frame(DATA, &[varint(raw::CLOSE), varint(1 << 30)].concat()), MESSAGE_ERROR),
    ] {
        bounded(async {
            let (mut client, server) = RawClient::in_session(&net).await;
            client.control.write_all(&control).await.unwrap();
            client.send.write_all(&connect).await.unwrap();
            let closed = server.closed().await;
            assert!(matches!(closed, ConnectionError::Transport(_)), "{closed:?}");
            assert_eq!(code_of_close(&client.quic).await, code);
        })
        .await;
    }
}

#[tokio::test]
async fn streams_that_must_stay_and_streams_that_come_once_are_watched() {
    let net = net();
    bounded(async {
        // The control stream, by its end and by a reset.
        let (mut client, _server) = RawClient::in_session(&net).await;
        client.control.finish().unwrap();
        assert_eq!(code_of_close(&client.quic).await, CLOSED_CRITICAL_STREAM);
        let (mut client, _server) = RawClient::in_session(&net).await;
        client.control.reset(quic_varint(5)).unwrap();
        assert_eq!(code_of_close(&client.quic).await, CLOSED_CRITICAL_STREAM);
        // Those of the compression: what they say is nobody's business, their end is.
        let (mut client, server) = RawClient::in_session(&net).await;
        let mut encoder = client.uni(&[&[0x02][..], &[0x3f; 10_000]].concat()).await;
        let _decoder = client.uni(&[0x03]).await;
        lives(&mut client, &server).await;
        encoder.finish().unwrap();
        assert_eq!(code_of_close(&client.quic).await, CLOSED_CRITICAL_STREAM);
        // A second one, and a push that nobody allowed.
        for bytes in [&[0x00][..], &[0x02], &[0x03], &[0x01, 0x00]] {
            let (client, server) = RawClient::in_session(&net).await;
            let _first = client.uni(&[0x02]).await;
            let _other = client.uni(&[0x03]).await;
            let _second = client.uni(bytes).await;
            let accepted = server.accept_uni().await.err().unwrap();
            assert!(matches!(accepted, ConnectionError::Transport(_)), "{accepted:?}");
            assert_eq!(code_of_close(&client.quic).await, STREAM_CREATION);
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_frames_and_goaway_byte_by_byte_leave_the_session_alone() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        let unknown = [
            frame(GREASE, &[0x01; 70]),
            frame(GREASE, b""),
            frame(GOAWAY, &[0x00]),
            frame(0x0d, &[0x07]),
            frame(0x03, &[0x07]),
            frame(0x4000, &[0x04; 300]),
        ];
        drip(&mut client.control, &unknown.concat()).await;
        session(&server).draining().await;
        let unknown = [
            frame(GREASE, &[0x01; 70]),
            frame(DATA, &frame(GREASE, &[0x68; 70])),
            frame(DATA, b""),
            frame(0x4000, &[0x00; 70]),
        ];
        drip(&mut client.send, &unknown.concat()).await;
        lives(&mut client, &server).await;
        // All of it was understood to its end.
        client.send.write_all(&frame(DATA, &closing(3, "done"))).await.unwrap();
        is_closed(&server.closed().await, 3, "done");
    })
    .await;
}

fn is_closed(end: &ConnectionError, code: u64, words: &str) {
    match end {
        ConnectionError::Closed { code: got, reason } => {
            assert_eq!((*got, reason.as_str()), (Code(code), words));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_capsule_may_be_cut_anywhere_and_share_its_frame() {
    let net = net();
    let capsules = [frame(GREASE, b"abc"), frame(DRAIN, b""), closing(42, "bye, schluß")].concat();
    bounded(async {
        for cut in 0..capsules.len() {
            let (mut client, server) = RawClient::in_session(&net).await;
            let (one, other) = capsules.split_at(cut);
            let sent = [frame(DATA, one), frame(GREASE, b"between"), frame(DATA, other)].concat();
            client.send.write_all(&sent).await.unwrap();
            is_closed(&server.closed().await, 42, "bye, schluß");
        }
        let (mut client, server) = RawClient::in_session(&net).await;
        for byte in &capsules {
            drip(&mut client.send, &frame(DATA, &[*byte])).await;
        }
        is_closed(&server.closed().await, 42, "bye, schluß");
    })
    .await;
}

#[tokio::test]
async fn megabytes_of_unknown_capsules_flow_through() {
    const LEN: usize = 20 << 20;

    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        let head = [varint(GREASE), varint(LEN as u64)].concat();
        client.send.write_all(&varint(DATA)).await.unwrap();
        client.send.write_all(&varint((head.len() + LEN) as u64)).await.unwrap();
        client.send.write_all(&head).await.unwrap();
        for _ in 0..LEN >> 16 {
            client.send.write_all(&[0x68; 1 << 16]).await.unwrap();
        }
        lives(&mut client, &server).await;
        client.send.write_all(&frame(DATA, &closing(1, "through"))).await.unwrap();
        is_closed(&server.closed().await, 1, "through");
    })
    .await;
}

#[tokio::test]
async fn a_thousand_silent_streams_hold_up_no_other() {
    const SILENT: usize = 1000;

    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut silent = Vec::new();
        for i in 0..SILENT {
            // Half of them stop in the middle of the head, and half do not begin.
            let mut uni = client.quic.open_uni().await.unwrap();
            let (mut bidi, recv) = client.quic.open_bi().await.unwrap();
            if i % 2 == 0 {
                uni.write_all(&UNI[..1 + i / 2 % 2]).await.unwrap();
                bidi.write_all(&BIDI[..1 + i / 2 % 2]).await.unwrap();
            }
            silent.push((uni, bidi, recv));
        }
        for round in 0..3_u8 {
            let _uni = client.uni(&[&UNI[..], &[round]].concat()).await;
            let _bidi = client.bidi(&[&BIDI[..], &[round]].concat()).await;
            let (uni, bidi) = tokio::join!(server.accept_uni(), server.accept_bi());
            assert_eq!(uni.unwrap().read_chunk(9).await.unwrap().as_deref(), Some(&[round][..]));
            assert_eq!(bidi.unwrap().1.read_chunk(9).await.unwrap().as_deref(), Some(&[round][..]));
        }
        // Whoever speaks after all is heard.
        let (uni, bidi, _recv) = &mut silent[501];
        uni.write_all(&[&UNI[..], b"late"].concat()).await.unwrap();
        bidi.write_all(&[&BIDI[..], b"late"].concat()).await.unwrap();
        let (uni, bidi) = tokio::join!(server.accept_uni(), server.accept_bi());
        assert_eq!(uni.unwrap().read_chunk(9).await.unwrap().as_deref(), Some(&b"late"[..]));
        assert_eq!(bidi.unwrap().1.read_chunk(9).await.unwrap().as_deref(), Some(&b"late"[..]));
    })
    .await;
}

#[tokio::test]
async fn of_too_many_silent_streams_the_oldest_goes() {
    const MOST: usize = 1024;

    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut silent = Vec::new();
        for _ in 0..MOST + 2 {
            silent.push(client.uni(&UNI[..1]).await);
        }
        let _loud = client.uni(&[&UNI[..], b"x"].concat()).await;
        server.accept_uni().await.unwrap();
        for gone in &mut silent[..2] {
            assert_eq!(gone.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
        }
        // The others are still waited for.
        silent[2].write_all(&UNI[1..]).await.unwrap();
        silent[2].write_all(b"y").await.unwrap();
        let mut recv = server.accept_uni().await.unwrap();
        assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&b"y"[..]));
    })
    .await;
}

#[tokio::test]
async fn streams_arrive_in_the_order_in_which_they_said_what_they_are() {
    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut first = client.uni(&UNI[..2]).await;
        let _others =
            [client.uni(&[&UNI[..], b"2"].concat()).await, client.uni(&[&UNI[..], b"3"].concat()).await];
        first.write_all(&[0x00, b'1']).await.unwrap();
        let mut order = Vec::new();
        for _ in 0..3 {
            let mut recv = server.accept_uni().await.unwrap();
            order.extend(recv.read_chunk(1).await.unwrap().unwrap());
        }
        order.retain(|byte| *byte != b'1');
        assert_eq!(order, b"23");
    })
    .await;
}

#[tokio::test]
async fn streams_of_other_sessions_and_of_no_use_are_refused() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        let other = client.uni(&[0x40, 0x54, 0x04, b'x']).await;
        let (other_send, mut other_recv) = client.bidi(&[0x40, 0x41, 0x04, b'x']).await;
        let unknown = client.uni(&[&varint(GREASE)[..], b"whatever"].concat()).await;
        let (request_send, mut request_recv) = client.bidi(&connect("webtransport")).await;
        let accept = async { drop(server.accept_bi().await) };
        let check = async {
            assert_eq!(other_send.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
            let reset = other_recv.read_to_end(9).await.unwrap_err();
            assert!(reset.to_string().contains(&BUFFERED_STREAM_REJECTED.to_string()), "{reset}");
            assert_eq!(request_send.stopped().await.unwrap(), Some(quic_varint(REQUEST_REJECTED)));
            let reset = request_recv.read_to_end(9).await.unwrap_err();
            assert!(reset.to_string().contains(&REQUEST_REJECTED.to_string()), "{reset}");
        };
        tokio::select! {
            () = accept => panic!("a stream of another session was accepted"),
            () = check => {}
        }
        lives(&mut client, &server).await;
        assert_eq!(other.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
        assert_eq!(unknown.stopped().await.unwrap(), Some(quic_varint(STREAM_CREATION)));
        // A session cannot have the id of a stream of the server.
        let _impossible = client.uni(&[0x40, 0x54, 0x01]).await;
        assert!(server.accept_uni().await.is_err());
        assert_eq!(code_of_close(&client.quic).await, ID_ERROR);
    })
    .await;
}

#[tokio::test]
async fn garbage_on_every_stream_ends_one_connection_at_most() {
    let net = net();
    let mut state = 1_u32;
    let mut garbage = || {
        (0..20)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect::<Vec<u8>>()
    };
    bounded(async {
        for round in 0..30 {
            let (mut client, server) = RawClient::in_session(&net).await;
            let spoil = async {
                for _ in 0..10 {
                    let bytes = garbage();
                    // Each of these may come too late.
                    if let Ok(mut uni) = client.quic.open_uni().await {
                        let _ = uni.write_all(&bytes).await;
                    }
                    if let Ok((mut bidi, _recv)) = client.quic.open_bi().await {
                        let _ = bidi.write_all(&bytes).await;
                    }
                }
                let _ = if round % 2 == 0 { &mut client.control } else { &mut client.send }
                    .write_all(&garbage())
                    .await;
                client.quic.close(quic_varint(SEVEN), b"enough");
            };
            let uni = async { while server.accept_uni().await.is_ok() {} };
            let bidi = async { while server.accept_bi().await.is_ok() {} };
            tokio::join!(spoil, uni, bidi, server.closed());
        }
        let (mut client, server) = RawClient::in_session(&net).await;
        lives(&mut client, &server).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_too_little_is_cut_off_in_time() {
    let net = net();
    let limit = Duration::from_millis(300);
    bounded(async {
        let usual = settings(&USUAL);
        for (control, request) in [
            (&b""[..], &b""[..]),
            (&[0x00], b""),
            (&[&[0x00][..], &usual].concat(), b""),
            (&[&[0x00][..], &usual].concat(), &connect("webtransport")[..5]),
        ] {
            let serve = async { net.listener.accept().await.unwrap().accept(limit).await };
            let client = async {
                let (_endpoint, quic) = quic_client(&net.identity, net.address()).await;
                let mut uni = quic.open_uni().await.unwrap();
                uni.write_all(control).await.unwrap();
                let (mut bidi, _recv) = quic.open_bi().await.unwrap();
                bidi.write_all(request).await.unwrap();
                code_of_close(&quic).await
            };
            let (accepted, code) = tokio::join!(serve, client);
            assert!(matches!(accepted, Err(AcceptError::TimedOut)), "{accepted:?}");
            assert_eq!(code, NO_ERROR);
        }
        net.listener.wait_idle().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_too_little_is_left_in_time() {
    let server = RawServer::new();
    let limit = Duration::from_millis(300);
    let tls = pinning([server.identity.fingerprint()]);
    let dialer = Dialer::new(tls, TransportOptions::default(), limit).unwrap();
    bounded(async {
        for says_settings in [false, true] {
            let serve = async {
                let quic = server.quic().await;
                let mut control = quic.open_uni().await.unwrap();
                if says_settings {
                    control.write_all(&[&[0x00][..], &settings(&USUAL)].concat()).await.unwrap();
                }
                code_of_close(&quic).await
            };
            let addresses = [server.address()];
            let dial = dialer.connect_webtransport(&addresses, "https://localhost/", &[]);
            let (code, dialed) = tokio::join!(serve, dial);
            assert!(matches!(dialed, Err(DialError::TimedOut(_))), "{dialed:?}");
            assert_eq!(code, NO_ERROR);
        }
        dialer.wait_idle().await;
    })
    .await;
}

#[tokio::test]
async fn streams_before_the_answer_are_kept_for_the_session() {
    let net = net();
    bounded(async {
        let serve = async {
            let request = net.listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap();
            request.accept().await.unwrap()
        };
        let client = async {
            let (endpoint, quic) = quic_client(&net.identity, net.address()).await;
            // The request is the first stream, and comes last.
            let (mut send, recv) = quic.open_bi().await.unwrap();
            let (mut bidi, _) = quic.open_bi().await.unwrap();
            bidi.write_all(&[&BIDI[..], b"b"].concat()).await.unwrap();
            let mut unis = Vec::new();
            for byte in [b'1', b'2', b'3'] {
                let mut uni = quic.open_uni().await.unwrap();
                uni.write_all(&[&UNI[..], &[byte]].concat()).await.unwrap();
                unis.push(uni);
            }
            let mut control = quic.open_uni().await.unwrap();
            control.write_all(&[&[0x00][..], &settings(&USUAL)].concat()).await.unwrap();
            send.write_all(&connect("webtransport")).await.unwrap();
            (endpoint, quic, send, recv, bidi, unis, control)
        };
        let (server, _client) = tokio::join!(serve, client);
        for byte in [b'1', b'2', b'3'] {
            let mut recv = server.accept_uni().await.unwrap();
            assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&[byte][..]));
        }
        let (_send, mut recv) = server.accept_bi().await.unwrap();
        assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&b"b"[..]));
    })
    .await;
}

#[tokio::test]
async fn our_close_is_a_capsule_and_the_end_of_its_stream() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        server.close(Code(7), "bye");
        assert!(matches!(server.closed().await, ConnectionError::LocallyClosed));
        client.expect(&frame(DATA, &closing(7, "bye"))).await;
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
        client.send.finish().unwrap();
        assert_eq!(code_of_close(&client.quic).await, NO_ERROR);
        // A peer that does not answer hears it from the connection.
        let (client, server) = RawClient::in_session(&net).await;
        server.close(Code(7), "bye");
        match client.quic.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!((close.error_code, &close.reason[..]), (quic_varint(SEVEN), &b"bye"[..]));
            }
            other => panic!("{other:?}"),
        }
        // Nobody is left to use the session.
        let (mut client, server) = RawClient::in_session(&net).await;
        drop(server);
        client.expect(&frame(DATA, &closing(0, ""))).await;
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
    })
    .await;
}

#[tokio::test]
async fn a_closed_session_is_agreed_to_and_left_to_the_peer_to_disconnect() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &closing(9, "ciao"))).await.unwrap();
        client.send.finish().unwrap();
        is_closed(&server.closed().await, 9, "ciao");
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
        // And if the peer never does, we do.
        assert_eq!(code_of_close(&client.quic).await, NO_ERROR);
    })
    .await;
}

#[tokio::test]
async fn a_given_up_session_stream_ends_the_session() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(SEVEN)).unwrap();
        is_closed(&server.closed().await, 7, "");
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(0x10c)).unwrap();
        is_closed(&server.closed().await, 0, "");
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(0x10e)).unwrap();
        assert!(matches!(server.closed().await, ConnectionError::Transport(_)));
        let (mut client, server) = RawClient::in_session(&net).await;
        client.recv.stop(quic_varint(SEVEN)).unwrap();
        is_closed(&server.closed().await, 7, "");
        // An end in the middle of a capsule is none.
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &closing(1, "cut")[..6])).await.unwrap();
        client.send.finish().unwrap();
        assert!(matches!(server.closed().await, ConnectionError::Transport(_)));
        assert_eq!(code_of_close(&client.quic).await, MESSAGE_ERROR);
    })
    .await;
}

#[tokio::test]
async fn draining_is_told_and_heard_without_an_end() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &frame(DRAIN, b""))).await.unwrap();
        session(&server).draining().await;
        session(&server).drain();
        client.expect(&frame(DATA, &frame(DRAIN, b""))).await;
        lives(&mut client, &server).await;
        let (client, server) = net.webtransport().await;
        session(&server).drain();
        session(&client).draining().await;
        client.close(Code(4), "as you wish");
        is_closed(&server.closed().await, 4, "as you wish");
    })
    .await;
}

#[tokio::test]
async fn requests_for_something_else_get_a_status() {
    let net = net();
    bounded(async {
        for (request, status) in [
            (
                headers(&[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]),
                "405",
            ),
            (connect("websocket"), "501"),
        ] {
            let control = settings(&USUAL);
            let serve = async { net.listener.accept().await.unwrap().accept(TIMEOUT).await };
            let client = async {
                let mut client = RawClient::say(&net, &control, &request).await;
                client.expect(&headers(&[(":status", status)])).await;
                assert_eq!(code_of_close(&client.quic).await, NO_ERROR);
            };
            let (accepted, ()) = tokio::join!(serve, client);
            assert!(matches!(accepted, Err(AcceptError::Connection(_))), "{accepted:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_dialect_of_later_drafts_is_understood_on_both_sides() {
    let net = net();
    let newer = settings(&[(0x33, 1), (0x2c7c_f000, 1)]);
    bounded(async {
        let request = connect("webtransport-h3");
        let (mut client, server) = tokio::join!(RawClient::say(&net, &newer, &request), net.serve());
        client.expect(&headers(&[(":status", "200")])).await;
        lives(&mut client, &server).await;
    })
    .await;
    let server = RawServer::new();
    bounded(async {
        let answer = headers(&[(":status", "200")]);
        let (dialed, (_quic, _control, (_send, mut recv))) =
            tokio::join!(server.dial(), server.serve(&newer, &answer));
        let _client = dialed.unwrap();
        let expected = connect("webtransport-h3");
        let mut request = vec![0; expected.len()];
        recv.read_exact(&mut request).await.unwrap();
        assert_eq!(request, expected);
    })
    .await;
}

#[tokio::test]
async fn a_client_waits_for_the_answer_that_counts() {
    let server = RawServer::new();
    let usual = settings(&USUAL);
    let interim = |times| headers(&[(":status", "103"), ("link", "x")]).repeat(times);
    bounded(async {
        let answer = [interim(3), frame(GREASE, b"x"), headers(&[(":status", "200")])].concat();
        let (dialed, _served) = tokio::join!(server.dial(), server.serve(&usual, &answer));
        dialed.unwrap();
        let answer = headers(&[(":status", "401"), ("www-authenticate", "Basic")]);
        let (dialed, _served) = tokio::join!(server.dial(), server.serve(&usual, &answer));
        match dialed {
            Err(DialError::Rejected { status: 401, headers }) => {
                assert_eq!(headers[1], ("www-authenticate".to_owned(), "Basic".to_owned()));
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_breaks_a_rule_is_left_with_its_code() {
    let server = RawServer::new();
    let usual = settings(&USUAL);
    let ok = headers(&[(":status", "200")]);
    for (control, answer, code) in [
        (settings(&[]), ok.clone(), NO_ERROR),
        (frame(GOAWAY, &[0]), ok.clone(), MISSING_SETTINGS),
        (usual.clone(), headers(&[(":status", "103")]).repeat(20), EXCESSIVE_LOAD),
        (usual.clone(), headers(&[("x", "y")]), MESSAGE_ERROR),
        (usual.clone(), headers(&[(":status", "2000")]), MESSAGE_ERROR),
        (usual.clone(), frame(DATA, b"x"), FRAME_UNEXPECTED),
    ] {
        bounded(async {
            let serve = async {
                let quic = server.quic().await;
                let mut stream = quic.open_uni().await.unwrap();
                stream.write_all(&[&[0x00][..], &control].concat()).await.unwrap();
                let accepted = quic.accept_bi().await;
                if let Ok((mut send, _recv)) = accepted {
                    send.write_all(&answer).await.unwrap();
                    code_of_close(&quic).await
                } else {
                    code_of_close(&quic).await
                }
            };
            let (dialed, got) = tokio::join!(server.dial(), serve);
            assert!(
                matches!(dialed, Err(DialError::Connection(ConnectionError::Transport(_)))),
                "{dialed:?}"
            );
            assert_eq!(got, code);
        })
        .await;
    }
    // Requests come from clients.
    bounded(async {
        let (dialed, (quic, _control, _connect)) = tokio::join!(server.dial(), server.serve(&usual, &ok));
        let client = dialed.unwrap();
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        send.write_all(&connect("webtransport")).await.unwrap();
        assert!(client.accept_bi().await.is_err());
        assert_eq!(code_of_close(&quic).await, STREAM_CREATION);
    })
    .await;
}
