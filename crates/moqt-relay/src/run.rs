//! The relay as a program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use anyhow::Context as _;
use moqt::{CacheBudget, Certificate, Client, ClientOptions, Retention, Url};
use tracing::{debug, info, warn};

use crate::{
    args::{Args, Bind},
    error::{Interrupted, Usage, explain},
    limit,
    options::{Listen, Options},
    relay::Relay,
    upstream::{Upstream, UpstreamUrl},
    welcome::welcome,
};

/// The port that is used unless another one is given.
const PORT: u16 = 4443;

/// Days for which a generated certificate is valid.
const DAYS: u32 = 10;

/// Hosts of a certificate for development.
const DEV_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Runs a relay until it is told to end. Logging is up to the caller, see [`LogArgs`](crate::LogArgs).
///
/// SIGTERM sends all clients elsewhere and ends it when they have left, see [`Handle::drain`](crate::Handle::drain).
/// Ctrl-C stops accepting, closes all sessions and ends it. A second signal ends it at once.
///
/// # Errors
///
/// One line that says what is wrong and what to do. [`exit_code`](crate::exit_code) makes an exit status of it:
/// [`Usage`] for a command line that makes no sense, [`Interrupted`] after Ctrl-C.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (dev, generated) = (args.dev, args.dev || !args.tls_generate.is_empty());
    let drain_to = args.drain_to.as_ref().map(ToString::to_string);
    let options = options(args)?;
    let patience = options.drain_timeout;
    let relay = Relay::bind(options).map_err(|error| explain(&error, error.hint()))?;
    let handle = relay.handle();
    for address in handle.addresses() {
        info!(%address, "listening");
    }
    if let (true, Some(fingerprint)) = (generated, handle.fingerprint()) {
        info!(%fingerprint, days = DAYS, "certificate generated");
    }
    if dev {
        eprint!("{}", welcome(&handle, std::env::var_os("CARGO").is_some()));
    }
    let running = relay.run();
    tokio::pin!(running);
    let signal = tokio::select! {
        biased;
        () = &mut running => return Ok(()),
        signal = signals.next() => signal,
    };
    match signal {
        Signal::Interrupt => {
            info!("closing");
            handle.begin_close();
        }
        Signal::Terminate => {
            info!(to = drain_to, ?patience, "draining: clients are sent elsewhere");
            handle.drain(drain_to);
        }
    }
    tokio::select! {
        biased;
        () = &mut running => debug!("closed"),
        _ = signals.next() => warn!("closed at once, without waiting for sessions to end"),
    }
    match signal {
        Signal::Interrupt => Err(Interrupted.into()),
        Signal::Terminate => Ok(()),
    }
}

/// What the arguments ask for.
fn options(args: Args) -> anyhow::Result<Options> {
    let bind = addresses(&args)?;
    let certificate = certificate(&args)?;
    let given = args.clone();
    let Args {
        http,
        dev,
        transfork_04,
        congestion,
        idle_timeout,
        max_sessions,
        max_sessions_per_address,
        cache_age,
        cache_bytes,
        scope_by_host,
        linger,
        limit,
        drain_timeout,
        publishers,
        hold,
        workers,
        ..
    } = args;
    let mut options = Options::new(certificate);
    options.listen = bind
        .iter()
        .map(|bind| Listen { address: bind.address, unmarked_04: bind.transfork_04.map(Into::into) })
        .collect();
    (options.http, options.http_beside, options.page) = (http, dev, dev);
    options.transport.congestion = congestion.into();
    options.transport.idle_timeout = Some(idle_timeout);
    // Two signs of life may be lost before silence counts.
    options.transport.keep_alive = options.transport.keep_alive.map(|every| every.min(idle_timeout / 3));
    options.session.unmarked_04 = transfork_04.into();
    options.retention = Retention::max_age(cache_age);
    options.scope_by_host = scope_by_host;
    options.linger = linger;
    options.drain_timeout = drain_timeout;
    options.redundancy = publishers.into();
    options.hold = hold;
    options.workers = workers;
    options.cache_bytes = cache_bytes.unwrap_or(options.cache_bytes);
    options.limits.sessions = max_sessions;
    options.limits.sessions_per_address = max_sessions_per_address;
    if dev {
        // All clients are on this machine.
        options.limits.sessions_per_address = max_sessions;
        options.limits.handshakes_per_address = options.limits.handshakes;
        options.limits.requests_per_second_per_address = u64::MAX;
        options.limits.payload_bytes_per_second_per_address = u64::MAX;
        options.limits.names_per_second_per_address = u64::MAX;
    }
    limit::apply(&limit, &mut options);
    options.upstreams = upstreams(&given, &mut options)?;
    Ok(options)
}

/// The relays above. Must be called within a tokio runtime.
fn upstreams(args: &Args, relay: &mut Options) -> anyhow::Result<Vec<Arc<dyn Upstream>>> {
    if args.upstream.is_empty() {
        if !args.upstream_tls_root.is_empty() || !args.upstream_tls_fingerprint.is_empty() {
            return Err(Usage("--upstream-tls-… is for --upstream, which is missing".into()).into());
        }
        return Ok(Vec::new());
    }
    if args.scope_by_host {
        let words = "--scope-by-host keeps hosts apart that relays above would not; drop it or --upstream";
        return Err(Usage(words.to_owned()).into());
    }
    if let Some(url) = args.upstream.iter().find(|url| url.path_and_query() != "/") {
        let words = "an upstream has no path of its own: each client's path holds there, too";
        return Err(Usage(format!("{url}: {words}")).into());
    }
    let mut options = ClientOptions::default();
    options.tls.roots.clone_from(&args.upstream_tls_root);
    options.tls.fingerprints.clone_from(&args.upstream_tls_fingerprint);
    options.transport.congestion = args.congestion.into();
    options.transport.idle_timeout = Some(args.upstream_timeout);
    options.transport.keep_alive = Some(args.upstream_timeout / 3);
    // What comes from there counts with everything else.
    let cache = CacheBudget::new(relay.cache_bytes);
    options.session.limits.cache = cache.clone();
    // A relay above tells of what all of its clients have.
    options.session.limits.announced = relay.limits.router.names;
    options.session.meters = relay.session.meters.clone();
    options.session.unmarked_04 = args.transfork_04.into();
    relay.cache = Some(cache);
    let hint = "check --upstream-tls-root";
    let client = Client::new(options).map_err(|error| explain(&error, Some(error.hint().unwrap_or(hint))))?;
    let upstream = |url: &Url| Arc::new(UpstreamUrl::new(client.clone(), url.clone())) as Arc<dyn Upstream>;
    Ok(args.upstream.iter().map(upstream).collect())
}

fn addresses(args: &Args) -> Result<Vec<Bind>, Usage> {
    let plain = |ip: IpAddr| Bind { address: SocketAddr::new(ip, PORT), transfork_04: None };
    if !args.bind.is_empty() {
        if let Some(open) = args.bind.iter().find(|bind| args.dev && !bind.address.ip().is_loopback()) {
            let open = open.address;
            return Err(Usage(format!(
                "--dev serves this machine only, and {open} is open to others; drop one"
            )));
        }
        return Ok(args.bind.clone());
    }
    if !args.dev {
        let ip = if can_bind(Ipv6Addr::UNSPECIFIED.into()) {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        return Ok(vec![plain(ip)]);
    }
    let loopback = [IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()];
    Ok(loopback.into_iter().filter(|ip| can_bind(*ip)).map(plain).collect())
}

/// Whether the machine has such an address at all.
fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn certificate(args: &Args) -> anyhow::Result<Certificate> {
    if let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let hint = "check --tls-cert and --tls-key";
        return Certificate::load(chain, key).map_err(|error| explain(&error, Some(hint)));
    }
    let mut hosts = args.tls_generate.clone();
    if hosts.is_empty() && args.dev {
        hosts = DEV_HOSTS.map(String::from).to_vec();
    }
    if hosts.is_empty() {
        let words = "no certificate: give --tls-cert and --tls-key, or let one be made with \
                     --tls-generate HOST,… or, for use on this machine only, --dev";
        return Err(Usage(words.to_owned()).into());
    }
    let hint = "--tls-generate takes host names and IP addresses";
    Certificate::generate(&hosts, DAYS).map_err(|error| explain(&error, Some(hint)))
}

/// What ends the program from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A polite request of the system.
    Terminate,
}

/// Waits for signals; while it lives they do not end the process by themselves.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let wait = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self { interrupt: wait(SignalKind::interrupt())?, terminate: wait(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn new() -> anyhow::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Interrupt
    }
}
