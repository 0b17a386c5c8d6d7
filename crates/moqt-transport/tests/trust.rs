//! Which servers a client trusts, and what it says of the others; and what a server takes from whom it does not know yet.

#![cfg(feature = "quinn")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use moqt_transport::{
    CertificateProblem, Code, Connection, DialError, Fingerprint, ListenOptions, Listener, NetConnection,
    SendStream,
};

use crate::common::{ALPN, Identity, TIMEOUT, dialer, listen, pinning, trusting, trusting_all};

/// What becomes of one client that dials with `tls` for `name`, over each carrier.
async fn dial(
    identity: &Identity,
    tls: rustls::ClientConfig,
    name: &str,
) -> Vec<Result<NetConnection, DialError>> {
    let listener = listen(identity);
    let address = listener.local_addr().unwrap();
    let dialer = dialer(tls);
    let serve = async {
        while let Some(incoming) = listener.accept().await {
            // Whether all goes well is the client's to judge.
            if let Ok(request) = incoming.accept(TIMEOUT).await
                && let Ok(connection) = request.accept().await
            {
                connection.closed().await;
            }
        }
    };
    let dial = async {
        #[cfg_attr(not(feature = "webtransport"), expect(unused_mut, reason = "one carrier only"))]
        let mut results = vec![dialer.connect_quic(&[address], name, &[ALPN.to_vec()]).await];
        if let Some(Ok(connection)) = results.first() {
            connection.close(Code::NONE, "");
        }
        #[cfg(feature = "webtransport")]
        {
            let url = format!("https://{name}:{}/", address.port());
            results.push(dialer.connect_webtransport(&[address], &url, &[]).await);
        }
        results
    };
    tokio::select! {
        results = dial => results,
        () = serve => panic!("the listener ended"),
    }
}

async fn problem(identity: &Identity, tls: rustls::ClientConfig, name: &str) -> CertificateProblem {
    let mut problems: Vec<_> = dial(identity, tls, name)
        .await
        .into_iter()
        .map(|result| match result {
            Err(DialError::Certificate { problem, .. }) => problem,
            other => panic!("{other:?}"),
        })
        .collect();
    problems.dedup();
    assert_eq!(problems.len(), 1, "the carriers disagree: {problems:?}");
    problems[0]
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_whatever_its_name_and_time() {
    let identity = Identity::with(&["other.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 2, 1);
    });
    let pins = [Fingerprint([7; 32]), identity.fingerprint()];
    for result in dial(&identity, pinning(pins), "localhost").await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_pinned_is_told_so() {
    let identity = Identity::new(&["localhost"]);
    let found = problem(&identity, pinning([Fingerprint([7; 32])]), "localhost").await;
    assert_eq!(found, CertificateProblem::NotPinned);
}

#[tokio::test]
async fn without_verification_any_certificate_is_accepted() {
    let identity = Identity::new(&["other.example"]);
    for result in dial(&identity, trusting_all(), "localhost").await {
        result.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_told_so() {
    let identity = Identity::new(&["localhost"]);
    let other = Identity::with(&["localhost"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    });
    let found = problem(&identity, trusting(&[&other.certificate]), "localhost").await;
    assert_eq!(found, CertificateProblem::UnknownIssuer);
}

#[tokio::test]
async fn an_expired_certificate_is_told_so() {
    let identity = Identity::with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 2, 1);
    });
    let found = problem(&identity, trusting(&[&identity.certificate]), "localhost").await;
    assert_eq!(found, CertificateProblem::Expired);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_so() {
    let identity = Identity::new(&["other.example"]);
    let found = problem(&identity, trusting(&[&identity.certificate]), "localhost").await;
    assert_eq!(found, CertificateProblem::WrongName);
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted() {
    let identity = Identity::new(&["localhost"]);
    for result in dial(&identity, trusting(&[&identity.certificate]), "localhost").await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_new_certificate_serves_the_clients_to_come() {
    let (old, new) = (Identity::new(&["localhost"]), Identity::new(&["localhost"]));
    let listener = listen(&old);
    listener.set_tls(new.server()).unwrap();
    let dialer = dialer(pinning([new.fingerprint()]));
    let (addresses, alpns) = ([listener.local_addr().unwrap()], [ALPN.to_vec()]);
    let serve = async { listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap() };
    let (client, _request) = tokio::join!(dialer.connect_quic(&addresses, "localhost", &alpns), serve);
    client.unwrap();
}

#[tokio::test]
async fn a_listener_takes_no_early_data_whatever_its_tls_configuration_allows() {
    let identity = Identity::new(&["localhost"]);
    let mut allowing = identity.server();
    allowing.max_early_data_size = u32::MAX;
    let options = ListenOptions { alpns: vec![ALPN.to_vec()], ..ListenOptions::default() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), allowing, options).unwrap();
    let mut tls = trusting_all();
    tls.enable_early_data = true;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    // The second one could go on where the first has ended.
    for round in 1..=2 {
        let connecting = endpoint.connect(listener.local_addr().unwrap(), "localhost").unwrap();
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("connection {round} says something early")
        };
        let serve = async {
            let request = listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap();
            request.accept().await.unwrap()
        };
        let (client, server) = tokio::join!(connecting, serve);
        let client = client.unwrap();
        // What a client needs to go on later comes before any payload.
        server.open_uni().await.unwrap().write_all(Bytes::from_static(b"hello")).await.unwrap();
        client.accept_uni().await.unwrap();
        client.close(0_u32.into(), b"");
        server.closed().await;
    }
}
