//! Broken rules, each with its code, and what is none.

use moqt_transport::{AcceptError, Connection, ConnectionError, conformance::bounded};

use crate::{
    CLOSED_CRITICAL_STREAM, DECOMPRESSION_FAILED, EXCESSIVE_LOAD, FRAME_ERROR, FRAME_UNEXPECTED,
    MESSAGE_ERROR, MISSING_SETTINGS, SETTINGS_ERROR, SEVEN, STREAM_CREATION,
    common::TIMEOUT,
    is_closed, lives, net,
    raw::{
        CLOSE, DATA, GOAWAY, GREASE, RawClient, USUAL, closing, code_of_close, connect, drip, frame, headers,
        quic_varint, settings, varint,
    },
    session,
};

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
        (vec![], frame(DATA, &frame(CLOSE, &[0, 0, 0])), MESSAGE_ERROR),
        (vec![], frame(DATA, &[varint(CLOSE), varint(1 << 30)].concat()), MESSAGE_ERROR),
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
