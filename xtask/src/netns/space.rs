//! Namespaces for publisher, subscriber and a stranger, each linked with that of the relay. Dropped, they are gone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::child::Child;
use crate::shell;

/// What all names begin with; the process that made one follows.
const PREFIX: &str = "moqt-lab-";

/// The relay as its neighbours see it.
pub(super) const RELAY_TO_PUBLISHER: &str = "10.213.0.1";
pub(super) const RELAY_TO_SUBSCRIBER: &str = "10.213.1.1";
pub(super) const RELAY_TO_STRANGER: &str = "10.213.2.1";

/// The port that the relay listens on.
pub(super) const PORT: u16 = 4443;

/// The port of a proxy beside the subscriber.
pub(super) const PROXY_PORT: u16 = 4444;

/// Whose network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Publisher,
    Relay,
    Subscriber,
    /// Somebody who has nothing to do with the others.
    Stranger,
}

/// The namespaces.
pub(super) struct Space {
    id: String,
}

impl Place {
    const ALL: [Self; 4] = [Self::Publisher, Self::Relay, Self::Subscriber, Self::Stranger];

    fn letter(self) -> char {
        match self {
            Self::Publisher => 'p',
            Self::Relay => 'r',
            Self::Subscriber => 's',
            Self::Stranger => 'x',
        }
    }
}

/// Whether namespaces can be made here; if not, why.
pub(super) fn check() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("network namespaces are a thing of Linux".to_owned());
    }
    if !shell::works(Command::new("ip").arg("-V")) || !shell::works(Command::new("tc").arg("-V")) {
        return Err("the programs ip and tc (iproute2) are not here".to_owned());
    }
    remove_stale();
    let name = format!("{PREFIX}{}-t", std::process::id());
    let made = ip(&["netns", "add", &name]);
    let _ = ip(&["netns", "del", &name]);
    made.map_err(|error| {
        format!("network namespaces cannot be made ({error:#}); it takes the rights of root")
    })
}

/// Those of processes that were ended before they could clean up.
fn remove_stale() {
    let Ok(list) = shell::output(Command::new("ip").args(["netns", "list"])) else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    tool("ip", args)
}

fn tool(program: &str, args: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot start {program}"))?;
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    ensure!(output.status.success(), "`{program} {}`: {words}", args.join(" "));
    Ok(())
}

impl Space {
    /// Makes them, with links between them.
    pub(super) fn new() -> Result<Self> {
        let space = Self { id: format!("{PREFIX}{}", std::process::id()) };
        for place in Place::ALL {
            // Of a scenario before, if its end failed.
            let _ = ip(&["netns", "del", &space.name(place)]);
            ip(&["netns", "add", &space.name(place)])?;
            ip(&["-n", &space.name(place), "link", "set", "lo", "up"])?;
        }
        space.link(Place::Publisher, "pub", ("10.213.0.2/30", RELAY_TO_PUBLISHER))?;
        space.link(Place::Subscriber, "sub", ("10.213.1.2/30", RELAY_TO_SUBSCRIBER))?;
        space.link(Place::Stranger, "other", ("10.213.2.2/30", RELAY_TO_STRANGER))?;
        Ok(space)
    }

    fn name(&self, place: Place) -> String {
        format!("{}-{}", self.id, place.letter())
    }

    /// A link between a place and the relay; the device is called `port` in the place and `device` at the relay.
    fn link(&self, place: Place, device: &str, (near, far): (&str, &str)) -> Result<()> {
        let (here, relay) = (self.name(place), self.name(Place::Relay));
        ip(&["-n", &here, "link", "add", "port", "type", "veth", "peer", "name", device, "netns", &relay])?;
        for (space, device, address) in [(&here, "port", near), (&relay, device, &format!("{far}/30"))] {
            ip(&["-n", space, "addr", "add", address, "dev", device])?;
            ip(&["-n", space, "link", "set", device, "up"])?;
        }
        Ok(())
    }

    /// Lets no more than `kilobits` a second from the relay to the subscriber; `queue` bytes may wait.
    pub(super) fn throttle(&self, kilobits: u32, queue: u32) -> Result<()> {
        let relay = self.name(Place::Relay);
        let (rate, limit) = (format!("{kilobits}kbit"), queue.to_string());
        tool(
            "tc",
            &[
                "-n", &relay, "qdisc", "replace", "dev", "sub", "root", "tbf", "rate", &rate, "burst",
                "3200", "limit", &limit,
            ],
        )
    }

    /// A command that runs in a place. Its process is the program's own.
    pub(super) fn command(&self, place: Place, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(place)]).arg(program);
        command
    }

    /// Starts a program in a place.
    pub(super) fn start(&self, place: Place, name: &str, program: &Path, args: &[&str]) -> Result<Child> {
        Child::start(name, self.command(place, program).args(args))
    }

    /// A page that the relay serves over HTTP; `None` where there is no such page.
    pub(super) fn page(&self, address: &str, path: &str) -> Result<Option<String>> {
        let this = std::env::current_exe()?;
        let mut child = self.start(Place::Relay, "http-get", &this, &["http-get", address, path])?;
        let mut text = String::new();
        while let Some(line) = child.line(Duration::from_secs(10))? {
            text.push_str(&line);
            text.push('\n');
        }
        match child.end(Duration::from_secs(10))?.code() {
            Some(0) => Ok(Some(text)),
            Some(4) => Ok(None),
            _ => bail!("no answer from http://{address}{path}{}", child.said()),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        for place in Place::ALL {
            if let Err(error) = ip(&["netns", "del", &self.name(place)]) {
                println!("xtask netns: a namespace is left behind: {error:#}");
            }
        }
    }
}
