//! What all clients share: where to connect and whom to trust, and the logs.

use std::{error::Error as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::anyhow;
use clap::{Args, builder::FalseyValueParser};
use moqt::{
    Client, ClientOptions, ConnectError, Fingerprint, FullTrackName, Link, Namespace, Origin, Reason,
    Reconnect, RequestError, Session, Tracks, Url,
};
use moqt_relay::{CongestionArg, LogArgs, Transfork04};
use tracing_subscriber::EnvFilter;

use crate::{ui, waiting::Waiting};

/// Longest wait for a goodbye; what matters was acknowledged before.
const GOODBYE: Duration = Duration::from_secs(2);

/// For those who come back: how long a silence may be before it is the end of a session, and when to ask whether
/// there is still somebody. What a relay keeps for those who were away is kept longer.
const SILENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// The longest pause between attempts to come back.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to connect, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// The relay: https://HOST:PORT/PATH (WebTransport), moqf://HOST:PORT/PATH (raw QUIC; also moqt://), or
    /// http://HOST:PORT/PATH (pins the certificate that a development relay shows there, then as https://)
    #[arg(value_name = "URL")]
    pub(crate) url: Url,

    #[command(flatten)]
    pub(crate) options: ConnectionArgs,
}

/// Whom to trust and how to talk.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectionArgs {
    /// Trust the certificates in this PEM file beside the system's; may be repeated
    #[arg(long, help_heading = "Connection", value_name = "FILE", env = "MOQT_TLS_ROOT")]
    pub(crate) tls_root: Vec<PathBuf>,

    /// Trust nothing but the certificate with this SHA-256; may be repeated
    #[arg(long, help_heading = "Connection", value_name = "HEX", env = "MOQT_TLS_FINGERPRINT")]
    pub(crate) tls_fingerprint: Vec<Fingerprint>,

    /// Trust everybody; for experiments only
    #[arg(long, help_heading = "Connection", env = "MOQT_TLS_DISABLE_VERIFY", value_parser = FalseyValueParser::new())]
    pub(crate) tls_disable_verify: bool,

    /// The encoding behind Transfork version 04 when the handshake does not say
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "ENCODING",
        env = "MOQT_TRANSFORK_04",
        default_value = "rs12"
    )]
    pub(crate) transfork_04: Transfork04,

    /// Congestion control
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "ALGORITHM",
        env = "MOQT_CONGESTION",
        default_value = "cubic"
    )]
    pub(crate) congestion: CongestionArg,
}

/// A client and where it connects.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: Client,
    url: Url,
}

impl ConnectArgs {
    /// Prepares to connect. Says so if nobody is verified.
    pub(crate) fn connector(&self) -> anyhow::Result<Connector> {
        self.connector_with(|_| {})
    }

    /// The same, for a session that is had anew when it is lost.
    pub(crate) fn steady(&self) -> anyhow::Result<Connector> {
        self.connector_with(|options| {
            options.transport.idle_timeout = Some(SILENCE.0);
            options.transport.keep_alive = Some(SILENCE.1);
        })
    }

    /// The same, with options that are changed at the end.
    pub(crate) fn connector_with(
        &self,
        change: impl FnOnce(&mut ClientOptions),
    ) -> anyhow::Result<Connector> {
        let wish = &self.options;
        let mut options = ClientOptions::default();
        options.tls.roots.clone_from(&wish.tls_root);
        options.tls.fingerprints.clone_from(&wish.tls_fingerprint);
        options.tls.disable_verify = wish.tls_disable_verify;
        options.session.unmarked_04 = wish.transfork_04.into();
        options.transport.congestion = wish.congestion.into();
        if wish.tls_disable_verify {
            ui::error("the server's certificate is not verified: whoever answers is trusted");
        }
        change(&mut options);
        let client = Client::new(options).map_err(|error| connect_failed(&error))?;
        Ok(Connector { client, url: self.url.clone() })
    }
}

impl Connector {
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a connection alone, and says what a session on it is to be like.
    pub(crate) async fn connection(
        &self,
    ) -> anyhow::Result<(moqt::transport::NetConnection, moqt::SessionConfig)> {
        let opened = self.client.connection(&self.url).await;
        opened.map_err(|error| connect_failed(&error))
    }

    /// Opens a session, and says so when that takes long.
    pub(crate) async fn connect(&self, waiting: &mut Waiting) -> anyhow::Result<Session> {
        self.connect_with(Arc::new(Tracks::new()), waiting).await
    }

    /// Opens a session that serves from `origin`.
    pub(crate) async fn connect_with(
        &self,
        origin: Arc<dyn Origin>,
        waiting: &mut Waiting,
    ) -> anyhow::Result<Session> {
        let what = format!("for {} to answer", self.url);
        let connecting = self.client.connect_with(&self.url, origin);
        let session = waiting.during(&what, connecting).await.map_err(|error| connect_failed(&error))?;
        tracing::debug!(url = %self.url, version = %session.version(), "connected");
        Ok(session)
    }

    /// Opens a session that serves from `origin`, and is had anew for so long when it is lost.
    pub(crate) async fn link(
        &self,
        origin: Arc<dyn Origin>,
        patience: Duration,
        waiting: &mut Waiting,
    ) -> anyhow::Result<Link> {
        let mut policy = Reconnect::default();
        (policy.patience, policy.longest_pause) = (Some(patience), PAUSE);
        let what = format!("for {} to answer", self.url);
        let connecting = Link::connect(self.client.clone(), self.url.clone(), origin, policy);
        waiting.during(&what, connecting).await.map_err(|error| connect_failed(&error))
    }

    /// Ends a link and lets the server hear of it.
    pub(crate) async fn close_link(&self, link: &Link) {
        let goodbye = async {
            link.close().await;
            self.client.wait_idle().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Ends a session and lets the server hear of it.
    pub(crate) async fn close(&self, session: &Session) {
        let goodbye = async {
            session.close().await;
            self.client.wait_idle().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// What is said of a request that failed.
    pub(crate) fn request_failed(
        &self,
        what: &str,
        track: &FullTrackName,
        error: &RequestError,
    ) -> anyhow::Error {
        request_failed(what, track, &self.url, error)
    }
}

/// What is said of a request that failed there.
pub(crate) fn request_failed(
    what: &str,
    track: &FullTrackName,
    url: &Url,
    error: &RequestError,
) -> anyhow::Error {
    let hint = match error {
        RequestError::Refused(Reason::NotFound) => {
            format!("; is it published? `moqt announced {url}` lists what is")
        }
        RequestError::Name(_) => "; use another name".to_owned(),
        _ => String::new(),
    };
    anyhow!("{what}: {track} at {url}: {}{hint}", chain(error))
}

/// One line of an error and its causes, without causes that say the same again.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !words.is_empty() && !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        source = cause.source();
    }
    line
}

fn connect_failed(error: &ConnectError) -> anyhow::Error {
    let line = match error {
        // The cause below this one is the TLS library's wording of the same.
        ConnectError::Dial { source, .. } if source.source().is_some() => match source {
            moqt::transport::DialError::Certificate { .. } => format!("{error}: {source}"),
            _ => chain(error),
        },
        _ => chain(error),
    };
    match error.hint() {
        Some(hint) => anyhow!("{line}; {hint}"),
        None => anyhow!("{line}"),
    }
}

/// Starts logging to stderr, around the progress line.
pub(crate) fn start_logs(args: LogArgs, default: &str) {
    if args.quiet {
        ui::quiet();
    }
    let filter = match (args.quiet, args.verbose) {
        (true, _) => EnvFilter::new("error"),
        // The transports below have much to say at this level.
        (_, true) => EnvFilter::new("info,moqt=debug"),
        _ => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi);
    let _ = subscriber.with_writer(|| ui::LogWriter).try_init();
}

/// A prefix of names; a `/` at its end changes nothing.
pub(crate) fn prefix(text: &str) -> Result<Namespace, String> {
    text.strip_suffix('/').unwrap_or(text).parse().map_err(|error: moqt::NameError| error.to_string())
}
