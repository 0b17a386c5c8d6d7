//! What can be typed.

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use moqt_relay::LogArgs;

use crate::{announced, bench, cert, clock, fetch, info, publish, sub};

#[cfg(test)]
mod tests;

/// Media over QUIC: publish, subscribe and relay live tracks.
///
/// A track is named by parts joined by `/`, for example `meeting/1234/alice`; a `/` or `%` inside a part is
/// percent-encoded. Data goes to stdout, everything else to stderr.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage, 130 on Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "moqt", bin_name = "moqt", version, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a relay
    Relay(moqt_relay::Args),
    /// Publish stdin or a file as a track, or media as a broadcast
    ///
    /// Each chunk of the input is sent at once. An input that is faster than the network, such as a file, is held
    /// back until the relay has what was sent; --rate publishes it at its own speed, and --realtime media.
    ///
    /// With --format fmp4 the input is fragmented MP4, as ffmpeg writes it with -f mp4 -movflags
    /// cmaf+separate_moof+skip_trailer -frag_duration 1; its tracks are published in a namespace with a catalog.
    Pub(publish::PubArgs),
    /// Write a track, or a broadcast of media, to stdout or a file
    ///
    /// Waits until the track is there, and ends when its publisher has finished it. Groups come out in the order of
    /// their numbers; those that do not come are warned of on stderr.
    ///
    /// With --format fmp4 the catalog of the namespace is read, and its tracks are written as fragmented MP4, for files
    /// and for players that read a pipe. It begins with a key frame, and goes on with the next group after a gap, and
    /// after a relay or a publisher was away for as long as --reconnect. A file has one header: when the catalog changes,
    /// what is decoded alike goes on, new tracks are left out, and a track that is coded otherwise ends with an error.
    Sub(sub::SubArgs),
    /// Write one group of a track to stdout or a file
    ///
    /// A group that runs is followed to its end. Relays hold the newest groups of what somebody subscribes to, and ask
    /// the publisher for others.
    Fetch(fetch::FetchArgs),
    /// Show priority, order and latest group of a track
    Info(info::InfoArgs),
    /// List tracks as they come and go
    ///
    /// Prints `+ path` and `- path`, and `= live` once all that were there at the beginning are named.
    Announced(announced::AnnouncedArgs),
    /// Publish or show a clock: a group a minute, a frame a second
    Clock(ClockArgs),
    /// Put a load on a relay, and tell how it was delivered
    ///
    /// Publishers and subscribers, each with a session of its own. All subscribe before the first frame is written, and
    /// each frame is checked. Lost is a group that did not come whole, and unreported one that the subscriber was not
    /// even told of; that, and a frame that is not as it was written, ends with status 1.
    #[command(after_help = bench::shapes_help())]
    Bench(Box<bench::BenchArgs>),
    /// Make a self-signed certificate for a relay
    ///
    /// Writes cert.pem and key.pem, and prints the SHA-256 that clients can pin it by.
    Cert(cert::CertArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    #[command(subcommand)]
    pub(crate) role: clock::Role,
}

impl Verb {
    /// The level of logs without any wish.
    pub(crate) fn default_level(&self) -> &'static str {
        if matches!(self, Self::Relay(_)) { "info" } else { "warn" }
    }
}

/// The whole command line. Values of the environment stay out of the help.
pub(crate) fn command() -> clap::Command {
    hide_env_values(Cli::command())
}

fn hide_env_values(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_env_values)
}
