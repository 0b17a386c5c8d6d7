//! Client and server of the facade over real sockets, on both carriers.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{sync::Arc, time::Duration};

use moqt::{
    Carrier, Certificate, Client, ClientOptions, ConnectError, Reason, RequestError, Retention, Server,
    ServerOptions, SessionError, SubscribeOptions, TrackEvent, TrackInfo, TrackProducer, Tracks, Url,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn certificate() -> Certificate {
    Certificate::generate(&["localhost".into(), "127.0.0.1".into()], 2).unwrap()
}

fn serve(certificate: Certificate) -> Server {
    Server::bind(ServerOptions::new("127.0.0.1:0".parse().unwrap(), certificate)).unwrap()
}

fn trusting(certificate: &Certificate) -> Client {
    let mut options = ClientOptions::default();
    options.tls.fingerprints = vec![certificate.fingerprint().unwrap()];
    options.connect_timeout = Duration::from_secs(5);
    Client::new(options).unwrap()
}

fn url(scheme: &str, server: &Server, path: &str) -> Url {
    format!("{scheme}://127.0.0.1:{}{path}", server.local_addr().port()).parse().unwrap()
}

async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("took too long")
}

#[tokio::test]
async fn a_track_crosses_both_carriers_of_one_port_with_path_and_query() {
    bounded(async {
        let certificate = certificate();
        let server = serve(certificate.clone());
        for (scheme, carrier) in [("https", Carrier::WebTransport), ("moqf", Carrier::Quic)] {
            let tracks = Tracks::new();
            let track =
                TrackProducer::new("a/b".parse().unwrap(), TrackInfo::default(), Retention::default());
            let _published = tracks.publish(track.consume()).unwrap();
            let serving = async {
                let request = server.accept().await.unwrap().handshake().await.unwrap();
                assert_eq!((request.carrier(), request.path()), (carrier, "/room/1?x=y"));
                request.start(Arc::new(tracks))
            };
            let client = trusting(&certificate);
            let url = url(scheme, &server, "/room/1?x=y");
            let (session, served) = tokio::join!(client.connect(&url), serving);
            let session = session.unwrap();
            let wanted = session.subscriber();
            let mut reader = wanted
                .subscribe("a/b".parse().unwrap(), SubscribeOptions::default())
                .await
                .unwrap()
                .into_track();
            let mut group = track.append_group();
            group.write_frame("payload").unwrap();
            group.finish().unwrap();
            let mut group = reader.next_group().await.unwrap().unwrap();
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "payload");

            let missing = wanted.subscribe("no/such".parse().unwrap(), SubscribeOptions::default()).await;
            assert!(matches!(missing, Err(RequestError::Refused(Reason::NotFound))), "{missing:?}");

            session.close().await;
            let end = served.closed().await;
            assert!(matches!(end, SessionError::Closed { .. }), "{scheme}: {end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_leaves_asks_its_clients_to_move_on_both_carriers() {
    bounded(async {
        let certificate = certificate();
        let server = serve(certificate.clone());
        for (scheme, to) in [("https", Some("https://other.example/room")), ("moqf", None)] {
            let tracks = Tracks::new();
            let track = TrackProducer::new("a".parse().unwrap(), TrackInfo::default(), Retention::default());
            let _published = tracks.publish(track.consume()).unwrap();
            let serving =
                async { server.accept().await.unwrap().handshake().await.unwrap().start(Arc::new(tracks)) };
            let client = trusting(&certificate);
            let url = url(scheme, &server, "/");
            let (session, served) = tokio::join!(client.connect(&url), serving);
            let session = session.unwrap();
            let wanted = session.subscriber();
            let subscribe = || wanted.subscribe("a".parse().unwrap(), SubscribeOptions::default());
            let mut reader = subscribe().await.unwrap().into_track();
            let leaving = async { served.drain(to.map(str::to_owned), PATIENCE).await.unwrap() };
            let moving = async {
                let asked = session.draining().await.unwrap();
                assert_eq!(asked.url.as_deref(), to, "{scheme}");
                let refused = subscribe().await;
                assert!(matches!(refused, Err(RequestError::Refused(Reason::GoingAway))), "{refused:?}");
                // What runs goes on until the client leaves.
                let mut group = track.append_group();
                group.write_frame("last").unwrap();
                group.finish().unwrap();
                let mut group = reader.next_group().await.unwrap().unwrap();
                assert_eq!(group.read_frame().await.unwrap().unwrap(), "last");
                session.close().await;
            };
            let (end, ()) = tokio::join!(leaving, moving);
            assert!(matches!(end, SessionError::Closed { .. }), "{scheme}: {end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_stays_when_it_was_asked_to_move_is_closed_at_the_deadline() {
    bounded(async {
        let certificate = certificate();
        let server = serve(certificate.clone());
        for scheme in ["https", "moqf"] {
            let serving = async {
                let request = server.accept().await.unwrap().handshake().await.unwrap();
                request.start(Arc::new(Tracks::new()))
            };
            let client = trusting(&certificate);
            let url = url(scheme, &server, "/");
            let (session, served) = tokio::join!(client.connect(&url), serving);
            let session = session.unwrap();
            let end = served.drain(None, Duration::from_millis(50)).await.unwrap();
            assert!(matches!(end, SessionError::LocallyClosed), "{scheme}: {end:?}");
            let end = session.closed().await;
            assert!(
                matches!(end, SessionError::Closed { reason: Reason::GoingAway, .. }),
                "{scheme}: {end:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_untrusted_certificate_is_named_as_the_cause() {
    bounded(async {
        let server = serve(certificate());
        let client = trusting(&certificate());
        for scheme in ["https", "moqf"] {
            let url = url(scheme, &server, "/");
            let error = tokio::select! {
                session = client.connect(&url) => session.unwrap_err(),
                () = accepting_forever(&server) => unreachable!(),
            };
            assert!(matches!(error, ConnectError::Dial { .. }), "{scheme}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("fingerprint")), "{scheme}: {error:?}");
        }
    })
    .await;
}

async fn accepting_forever(server: &Server) {
    loop {
        if let Some(incoming) = server.accept().await {
            let _ = incoming.handshake().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_changes_its_address_loses_no_group() {
    for scheme in ["moqf", "https"] {
        bounded(changes_its_address(scheme)).await;
    }
}

async fn changes_its_address(scheme: &str) {
    let certificate = certificate();
    let server = serve(certificate.clone());
    let tracks = Tracks::new();
    let track = TrackProducer::new("a/b".parse().unwrap(), TrackInfo::default(), Retention::default());
    let _published = tracks.publish(track.consume()).unwrap();
    let serving = async {
        let request = server.accept().await.unwrap().handshake().await.unwrap();
        request.start(Arc::new(tracks))
    };
    let client = trusting(&certificate);
    let url = url(scheme, &server, "/");
    let (session, served) = tokio::join!(client.connect(&url), serving);
    let session = session.unwrap();
    let wanted = session.subscriber();
    let mut reader =
        wanted.subscribe("a/b".parse().unwrap(), SubscribeOptions::default()).await.unwrap().into_track();

    let mut seen = Vec::new();
    for number in 0..60u64 {
        if number % 20 == 10 {
            // Another port stands for another network.
            client.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        }
        let mut group = track.append_group();
        group.write_frame(vec![number as u8; 5000]).unwrap();
        group.finish().unwrap();
        if number % 2 == 0 {
            // Half of the groups are written while others are on their way.
            continue;
        }
        for _ in 0..2 {
            let mut group = reader.next_group().await.unwrap().unwrap();
            let frame = group.read_frame().await.unwrap().unwrap();
            assert_eq!(frame, vec![group.sequence() as u8; 5000]);
            seen.push(group.sequence());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    // The session is the same one, and asks over the new path.
    let info = wanted.info("a/b".parse().unwrap()).await.unwrap();
    assert_eq!(info.latest, Some(59));
    session.close().await;
    served.closed().await;
}

/// Writes 600 groups, one each 4 ms; about 40 Mbit/s.
async fn load(track: TrackProducer) {
    for number in 0..600u64 {
        let mut group = track.append_group();
        group.write_frame(vec![number as u8; 20_000]).unwrap();
        group.finish().unwrap();
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    track.finish();
}

/// Takes all of them.
async fn taken(wanted: moqt::Subscriber) {
    let options = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
    let mut reader = wanted.subscribe("a/b".parse().unwrap(), options).await.unwrap().into_track();
    let mut seen = Vec::new();
    while let Some(event) = reader.next_event().await.unwrap() {
        let TrackEvent::Group(mut group) = event else { panic!("{event:?}") };
        let frame = group.read_frame().await.unwrap().unwrap();
        assert_eq!(frame, vec![group.sequence() as u8; 20_000]);
        seen.push(group.sequence());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_network_change_under_load_loses_no_group_and_needs_no_handshake() {
    for scheme in ["moqf", "https"] {
        let moving = under_load(scheme);
        tokio::time::timeout(Duration::from_secs(100), moving).await.expect("took too long");
    }
}

async fn under_load(scheme: &str) {
    let certificate = certificate();
    let server = serve(certificate.clone());
    let track = || TrackProducer::new("a/b".parse().unwrap(), TrackInfo::default(), Retention::default());
    let (up, down) = (track(), track());
    let (ours, theirs) = (Tracks::new(), Tracks::new());
    let _published = (ours.publish(up.consume()).unwrap(), theirs.publish(down.consume()).unwrap());
    let serving = async {
        let request = server.accept().await.unwrap().handshake().await.unwrap();
        request.start(Arc::new(theirs))
    };
    let client = trusting(&certificate);
    let url = url(scheme, &server, "/");
    let (session, served) = tokio::join!(client.connect_with(&url, Arc::new(ours)), serving);
    let session = session.unwrap();
    let moves = async {
        let mut moves = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            client.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            moves += 1;
            assert!(moves < 1000);
        }
    };
    let loads = async {
        let (subscriber, publisher) = (session.subscriber(), served.subscriber());
        tokio::join!(taken(subscriber), taken(publisher), load(up), load(down));
    };
    tokio::select! {
        biased;
        () = loads => {}
        () = moves => {}
        other = server.accept() => panic!("a second connection: {other:?}"),
        end = session.closed() => panic!("{end}"),
    }
    session.close().await;
    served.closed().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_has_an_unknown_issuer() {
    bounded(async {
        let server = serve(certificate());
        let client = Client::new(ClientOptions::default()).unwrap();
        for scheme in ["https", "moqf"] {
            let url = url(scheme, &server, "/");
            let error = tokio::select! {
                session = client.connect(&url) => session.unwrap_err(),
                () = accepting_forever(&server) => unreachable!(),
            };
            let mut words = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                words = format!("{words}: {cause}");
                source = cause.source();
            }
            assert!(words.contains("unknown issuer"), "{scheme}: {words}");
        }
    })
    .await;
}
