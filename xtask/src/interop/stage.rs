//! What a case plays on: who publishes, who relays, who subscribes, and over which carrier.

use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::cache::{self, Ours, Release};
use super::program::{Program, Report};
use crate::shell;

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    /// Paths as lists of parts: moq-transfork 0.11.
    Parts,
    /// Paths as texts, interest as patterns: moq-transfork 0.12.
    Wildcard,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "moqt",
            Self::Parts => "parts",
            Self::Wildcard => "wildcard",
        })
    }
}

/// Who plays which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) publisher: Side,
    /// Without one the publisher listens, and the subscriber connects to it.
    pub(crate) relay: Option<Side>,
    pub(crate) subscriber: Side,
}

impl Route {
    pub(crate) const fn new(publisher: Side, relay: Side, subscriber: Side) -> Self {
        Self { publisher, relay: Some(relay), subscriber }
    }

    pub(crate) const fn direct(publisher: Side, subscriber: Side) -> Self {
        Self { publisher, relay: None, subscriber }
    }

    /// The releases whose relay or clock takes part.
    pub(crate) fn relay_release(&self) -> Option<&'static Release> {
        self.relay.and_then(Release::of)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.relay {
            Some(relay) => write!(f, "{}>{relay}>{}", self.publisher, self.subscriber),
            None => write!(f, "{}>{}", self.publisher, self.subscriber),
        }
    }
}

/// What sessions run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    /// WebTransport, `https://`
    Https,
    /// Raw QUIC, `moqf://`
    Moqf,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Moqf => "moqf",
        })
    }
}

/// Programs on loopback, for one case.
pub(crate) struct Stage<'a> {
    pub(crate) route: Route,
    pub(crate) carrier: Carrier,
    pub(crate) relay: Option<Relay>,
    pub(crate) report: Report,
    ours: &'a Ours,
}

/// A relay that listens.
pub(crate) struct Relay {
    pub(crate) program: Program,
    /// For clients that speak what 0.12 speaks, and for those that speak what 0.11 does.
    ports: [u16; 2],
}

/// How often another port is tried for a relay that cannot pick its own.
const PORT_ATTEMPTS: usize = 5;

impl<'a> Stage<'a> {
    /// Starts the relay, if the route has one.
    pub(crate) fn new(ours: &'a Ours, route: Route, carrier: Carrier, report: Report) -> Result<Self> {
        let relay = match route.relay {
            None => None,
            Some(side) => Some(match Release::of(side) {
                None => our_relay(ours, &report)?,
                Some(release) => their_relay(release, &report)?,
            }),
        };
        Ok(Self { route, carrier, relay, report, ours })
    }

    /// The relay's program.
    pub(crate) fn relay(&self) -> Result<&Program> {
        self.relay.as_ref().map(|relay| &relay.program).context("a route with a relay")
    }

    /// The relay is still there, or ended well because the case was about that.
    pub(crate) fn stands(&mut self) -> Result<()> {
        match &mut self.relay {
            Some(relay) => relay.program.is_well(),
            None => Ok(()),
        }
    }

    /// Whether the relay is our own.
    pub(crate) fn relay_is_ours(&self) -> bool {
        self.route.relay == Some(Side::Ours)
    }

    /// A publisher with a session at the relay.
    pub(crate) fn publisher(&self) -> Result<Program> {
        self.client(self.route.publisher, "publisher")
    }

    /// A subscriber with a session at the relay.
    pub(crate) fn subscriber(&self) -> Result<Program> {
        self.client(self.route.subscriber, "subscriber")
    }

    /// A peer of ours with a session at the relay.
    pub(crate) fn watcher(&self) -> Result<Program> {
        self.client(Side::Ours, "watcher")
    }

    /// A publisher that listens and a subscriber that is connected to it.
    pub(crate) fn pair(&self) -> Result<(Program, Program)> {
        let mut command = self.peer(self.route.publisher, self.route.subscriber);
        command.args(["listen", "127.0.0.1:0"]);
        let publisher = Program::start("publisher, listening", &mut command, &self.report)?;
        let address = publisher.says_from("listening ")?;
        let mut command = self.peer(self.route.subscriber, self.route.publisher);
        command.arg(format!("{}://{address}/", self.carrier));
        let subscriber = Program::start("subscriber", &mut command, &self.report)?;
        subscriber.says_from("connected ")?;
        publisher.says_from("connected ")?;
        Ok((publisher, subscriber))
    }

    fn client(&self, side: Side, part: &str) -> Result<Program> {
        let mut command = self.peer(side, self.route.relay.unwrap_or(Side::Ours));
        command.arg(self.url(side)?);
        let program = Program::start(&format!("{part} ({side})"), &mut command, &self.report)?;
        let version = program.says_from("connected ")?;
        // Between our own programs the handshake settles it; else it is what we are told about the other side.
        let expected = match (side, self.route.relay) {
            (Side::Ours, Some(Side::Wildcard)) => "transfork-04-rs12",
            (Side::Ours, Some(Side::Parts)) => "transfork-04-rs9",
            (Side::Ours, _) => "transfork-04",
            _ => return Ok(program),
        };
        if version != expected {
            bail!("{part} speaks {version}, not {expected}");
        }
        Ok(program)
    }

    /// Where a client of this side connects.
    pub(crate) fn url(&self, side: Side) -> Result<String> {
        let [wildcard, parts] = self.relay.as_ref().context("a route with a relay")?.ports;
        let port = if side == Side::Parts { parts } else { wildcard };
        Ok(format!("{}://127.0.0.1:{port}/", self.carrier))
    }

    /// A peer of one side that talks to the other.
    fn peer(&self, side: Side, other: Side) -> Command {
        match Release::of(side) {
            Some(release) => quiet(&mut Command::new(cache::peer(release))),
            None => {
                let mut command = quiet(&mut Command::new(&self.ours.peer));
                if other == Side::Parts {
                    command.args(["--unmarked", "transfork-04-rs9"]);
                }
                command
            }
        }
    }

    /// A clock of one side, publishing or subscribing.
    pub(crate) fn clock(&self, side: Side, publish: bool) -> Result<Program> {
        let url = self.url(side)?;
        let role = match (side, publish) {
            (Side::Ours, true) => "pub",
            (Side::Ours, false) => "sub",
            (_, true) => "publish",
            (_, false) => "subscribe",
        };
        let mut command = match Release::of(side) {
            None => {
                let mut command = quiet(&mut Command::new(&self.ours.moqt));
                command.args(["clock", role, &url, "--tls-disable-verify"]);
                if self.route.relay == Some(Side::Parts) {
                    command.args(["--transfork-04", "rs9"]);
                }
                command
            }
            Some(release) => {
                let mut command = quiet(&mut Command::new(cache::clock(release)));
                command.args(["--bind", "127.0.0.1:0", "--tls-disable-verify", &url, role]);
                command
            }
        };
        Program::start(&format!("clock {role} ({side})"), &mut command, &self.report)
    }
}

/// Without anything of the caller's environment that our programs or theirs would listen to.
fn quiet(command: &mut Command) -> Command {
    let mut clean = shell::command(&command.get_program().to_string_lossy());
    for (name, _) in std::env::vars_os() {
        let of_ours = name.to_str().is_some_and(|name| name.starts_with("MOQT_") || name == "RUST_LOG");
        if of_ours || name == "CARGO" {
            clean.env_remove(name);
        }
    }
    clean.env("NO_COLOR", "1");
    clean
}

fn our_relay(ours: &Ours, report: &Report) -> Result<Relay> {
    let mut command = quiet(&mut Command::new(&ours.moqt));
    command.args(["relay", "--tls-generate", "localhost,127.0.0.1"]);
    command.args(["--bind", "127.0.0.1:0,transfork-04=rs12", "--bind", "127.0.0.1:0,transfork-04=rs9"]);
    let program = Program::start("relay (moqt)", &mut command, report)?;
    let port = || -> Result<u16> {
        let line = program.mentions("listening address=")?;
        let port = line.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
        port.with_context(|| format!("no port in `{line}`"))
    };
    let ports = [port()?, port()?];
    Ok(Relay { program, ports })
}

fn their_relay(release: &Release, report: &Report) -> Result<Relay> {
    let mut failed = String::new();
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port()?;
        let mut command = quiet(&mut Command::new(cache::relay(release)));
        command.args(["--bind", &format!("127.0.0.1:{port}"), "--tls-self-sign", "localhost,127.0.0.1"]);
        let name = format!("relay (moq-relay {})", release.relay);
        let program = Program::start(&name, &mut command, report)?;
        match program.mentions("listening") {
            Ok(_) => return Ok(Relay { program, ports: [port; 2] }),
            // Somebody else may have taken the port.
            Err(error) => failed = error.to_string(),
        }
    }
    bail!("{failed}")
}

/// A port that is free for UDP and for TCP, as far as one can know.
fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").context("no free UDP port")?;
        let port = udp.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port that is free for both UDP and TCP")
}
