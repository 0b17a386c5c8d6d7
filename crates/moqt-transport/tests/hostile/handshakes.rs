//! Peers on the way to a session.

use std::time::Duration;

use moqt_transport::{
    AcceptError, Connection, ConnectionError, DialError, Dialer, TransportOptions, conformance::bounded,
};

use crate::{
    EXCESSIVE_LOAD, FRAME_UNEXPECTED, MESSAGE_ERROR, MISSING_SETTINGS, NO_ERROR, STREAM_CREATION,
    common::{TIMEOUT, pinning},
    lives, net,
    raw::{
        DATA, GOAWAY, GREASE, RawClient, RawServer, USUAL, code_of_close, connect, frame, headers,
        quic_client, settings,
    },
};

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
