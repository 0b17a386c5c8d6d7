//! A relay in this process, and the real command in others.
#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    time::Duration,
};

use moqt::{Certificate, Client, ClientOptions, Version};
use moqt_relay::{Handle, Options, Relay};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// More than anything here takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {LIMIT:?}: {what}"),
    }
}

/// A relay on a free port of the loopback address.
pub struct TestRelay {
    pub handle: Handle,
    pub certificate: Certificate,
}

impl TestRelay {
    pub fn start() -> Self {
        let certificate = Certificate::generate(&["localhost".into(), "127.0.0.1".into()], 10).unwrap();
        Self::with(certificate)
    }

    /// A relay that speaks one version only.
    pub fn speaking(version: Version) -> Self {
        let certificate = Certificate::generate(&["localhost".into(), "127.0.0.1".into()], 10).unwrap();
        let mut options = Options::new(certificate.clone());
        options.session.versions = vec![version];
        options.session.unmarked_04 = version;
        Self::start_with(options, "127.0.0.1:0".parse().unwrap(), certificate)
    }

    /// A relay with a certificate of its own.
    pub fn with(certificate: Certificate) -> Self {
        Self::start_with(Options::new(certificate.clone()), "127.0.0.1:0".parse().unwrap(), certificate)
    }

    /// A relay in the place of one that has closed. Sockets close a moment later, and a client of another test may
    /// have been given the port meanwhile, so it tries until the port is free.
    pub async fn start_again(address: SocketAddr, certificate: Certificate) -> Self {
        let options = quick(Options::new(certificate.clone()), address);
        let bind = async {
            loop {
                match Relay::bind(options.clone()) {
                    Ok(relay) => return relay,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        Self::running(within("the port is free", bind).await, certificate)
    }

    fn start_with(options: Options, address: SocketAddr, certificate: Certificate) -> Self {
        Self::running(Relay::bind(quick(options, address)).unwrap(), certificate)
    }

    fn running(relay: Relay, certificate: Certificate) -> Self {
        let handle = relay.handle();
        #[expect(clippy::disallowed_methods, reason = "the relay's own task")]
        tokio::spawn(relay.run());
        Self { handle, certificate }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    /// Raw QUIC; for [`moqt`](Self::moqt), which pins the certificate.
    pub fn url(&self) -> String {
        format!("moqf://{}/", self.address())
    }

    /// WebTransport, with the certificate's fingerprint over HTTP.
    pub fn http_url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// A command that trusts this relay: the verb, the URL, the rest.
    pub fn moqt(&self, verb: &str, rest: &str) -> Command {
        let pin = self.handle.fingerprint().unwrap();
        moqt(&format!("{verb} {} {rest} --tls-fingerprint {pin}", self.url()))
    }

    /// A client in this process that trusts this relay.
    pub fn client(&self) -> (Client, moqt::Url) {
        let mut options = ClientOptions::default();
        options.tls.fingerprints = vec![self.handle.fingerprint().unwrap()];
        (Client::new(options).unwrap(), self.url().parse().unwrap())
    }
}

/// A relay at this address, that soon notices who is dead.
fn quick(options: Options, address: SocketAddr) -> Options {
    let mut options = options.listen(address).http_beside();
    options.transport.idle_timeout = Some(Duration::from_secs(2));
    options.transport.keep_alive = Some(Duration::from_millis(400));
    options
}

/// The command with these arguments, without any wish of the environment.
pub fn moqt(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqt"));
    command.args(line.split_whitespace()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MOQT_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end: status, stdout, stderr.
pub async fn run(mut command: Command) -> (i32, Vec<u8>, String) {
    ended(command.output(), &format!("{command:?}")).await
}

/// Waits for the end of a command: status, stdout, stderr.
pub async fn end(child: Child) -> (i32, Vec<u8>, String) {
    ended(child.wait_with_output(), "a command ends").await
}

async fn ended(output: impl Future<Output = std::io::Result<Output>>, what: &str) -> (i32, Vec<u8>, String) {
    let Output { status, stdout, stderr } = within(what, output).await.unwrap();
    (status.code().unwrap_or(-1), stdout, String::from_utf8(stderr).unwrap())
}

/// A command whose stdin stays open.
pub fn fed(mut command: Command) -> (Child, ChildStdin) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// A command whose stdout is read while it runs.
pub fn watched(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

pub async fn write(stdin: &mut ChildStdin, text: &str) {
    within("stdin takes a text", stdin.write_all(text.as_bytes())).await.unwrap();
}

/// The next line, without its end.
pub async fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    within("a line of stdout", stdout.read_line(&mut line)).await.unwrap();
    line.trim_end_matches('\n').to_owned()
}

/// Exactly so many bytes.
pub async fn bytes(stdout: &mut BufReader<ChildStdout>, count: usize) -> String {
    let mut bytes = vec![0; count];
    within("bytes of stdout", stdout.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What is left up to the end.
pub async fn rest(mut stdout: BufReader<ChildStdout>) -> Vec<u8> {
    let mut rest = Vec::new();
    within("the end of stdout", stdout.read_to_end(&mut rest)).await.unwrap();
    rest
}

/// Presses Ctrl-C.
#[cfg(unix)]
pub async fn interrupt(child: &Child) {
    let id = child.id().expect("it still runs");
    let status = Command::new("kill").args(["-INT", &id.to_string()]).status().await.unwrap();
    assert!(status.success());
}

/// Bytes without any pattern that could hide a mistake.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(count)
    .collect()
}

/// A folder of one test, empty.
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
