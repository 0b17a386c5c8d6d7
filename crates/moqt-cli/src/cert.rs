//! `moqt cert`: a certificate for trying things out.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use moqt::Certificate;

use crate::{common::chain, output, shutdown::Exit, ui};

/// What `moqt cert` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct CertArgs {
    /// Names and addresses that it is for
    #[arg(
        long,
        value_name = "HOST,…",
        env = "MOQT_CERT_HOSTS",
        value_delimiter = ',',
        default_value = "localhost,127.0.0.1,::1"
    )]
    hosts: Vec<String>,

    /// Days for which it is valid; browsers take at most 14
    #[arg(long, value_name = "N", env = "MOQT_CERT_DAYS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=14))]
    days: u32,

    /// Folder to write to; files of these names are replaced
    #[arg(long, value_name = "DIR", env = "MOQT_CERT_OUT", default_value = ".")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) async fn run(args: &CertArgs) -> anyhow::Result<Exit> {
    let hosts = args.hosts.join(",");
    let made = Certificate::generate(&args.hosts, args.days).map_err(|error| {
        anyhow!("no certificate: {hosts}: {}; --hosts takes names and IP addresses", chain(&error))
    })?;
    let (Some(chain), Some(key), Some(fingerprint)) =
        (made.certificate_pem(), made.key_pem(), made.fingerprint())
    else {
        return Err(anyhow!("no certificate: {hosts}: it has no PEM form"));
    };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make a folder: {}", args.out.display()))?;
    let (chain_path, key_path) = (args.out.join("cert.pem"), args.out.join("key.pem"));
    for (path, pem, secret) in [(&chain_path, chain, false), (&key_path, key, true)] {
        write(path, pem, secret).with_context(|| format!("cannot write: {}", path.display()))?;
    }
    let (days, chain_path, key_path) = (args.days, chain_path.display(), key_path.display());
    ui::notice(&format!("for {hosts}, valid for {days} days: {chain_path} and {key_path}"));
    output::print(format!("{fingerprint}\n").as_bytes()).await?;
    Ok(Exit::Done)
}

/// Writes a file, one that nobody else may read if it is a secret.
fn write(path: &Path, text: &str, secret: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if secret {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
        // The mode is for new files only.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    #[cfg(not(unix))]
    let _ = secret;
    options.open(path)?.write_all(text.as_bytes())
}
