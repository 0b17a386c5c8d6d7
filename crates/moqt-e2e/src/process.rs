//! Programs of this build: start them, read what they say, end them for certain.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program `moqt` of this build, built if it is not there yet.
///
/// # Panics
///
/// When it cannot be built.
pub fn moqt() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build().expect("moqt can be built"))
}

/// An example of this build, by its name, built if it is not there yet.
///
/// # Panics
///
/// When it cannot be built.
pub fn example(name: &str) -> PathBuf {
    built(&format!("examples/{name}"), &["--package", "moqt-examples", "--examples"])
        .expect("examples can be built")
}

fn build() -> Result<PathBuf> {
    built("moqt", &["--package", "moqt-cli"])
}

fn built(program: &str, package: &[&str]) -> Result<PathBuf> {
    // Tests lie in target/PROFILE/deps, programs in target/PROFILE.
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("tests lie in a target folder")?;
    let path = folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet"]).args(package);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status()?;
        if !status.success() || !path.exists() {
            bail!("no {}", path.display());
        }
    }
    Ok(path)
}

#[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stderr: Lines,
    stdout: Lines,
}

/// What a program has written so far, by line.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<(Mutex<Text>, Condvar)>);

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    over: bool,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, pipe: impl std::io::Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let read = match pipe.fill_buf() {
                    Ok(bytes) => {
                        lines.lock().bytes.extend_from_slice(bytes);
                        bytes.len()
                    }
                    Err(_) => 0,
                };
                pipe.consume(read);
                if read == 0 {
                    lines.lock().over = true;
                }
                lines.0.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
    }

    /// Waits until `check` holds, or nothing more can come.
    fn wait<T>(&self, patience: Duration, check: impl Fn(&Text) -> Option<T>) -> Option<T> {
        let deadline = now() + patience;
        let mut text = self.lock();
        loop {
            if let Some(found) = check(&text) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(now());
            if text.over || left.is_zero() {
                return None;
            }
            (text, _) = self.0.1.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Process {
    /// Starts `moqt` with these arguments.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, Stdio::null())
    }

    /// Starts `moqt` with these arguments and this input.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_with(args: &[&str], stdin: Stdio) -> Self {
        Self::run(moqt(), args, stdin)
    }

    /// Starts any program with these arguments and this input.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn run(program: &Path, args: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .env_remove("CARGO")
            .env_remove("RUST_LOG")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        if let Some(pipe) = child.stdout.take() {
            stdout.follow(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            stderr.follow(pipe);
        }
        Self { child, name: args.join(" "), stderr, stdout }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to the program's input, which stays open.
    ///
    /// # Panics
    ///
    /// When the program does not read, or was started without a pipe.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("started with a pipe");
        stdin.write_all(bytes).expect("the program reads");
    }

    /// Waits for a line on stderr that contains `text`, and returns it.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn says(&self, text: &str) -> String {
        let line = |all: &Text| {
            let all = String::from_utf8_lossy(&all.bytes);
            all.lines().find(|line| line.contains(text)).map(str::to_owned)
        };
        let said = self.stderr.wait(PATIENCE, line);
        said.unwrap_or_else(|| {
            panic!("`moqt {}` never said {text:?}; it said:\n{}", self.name, self.stderr())
        })
    }

    /// Waits until stdout has at least `len` bytes, and returns all of it.
    ///
    /// # Panics
    ///
    /// When they do not come.
    pub fn writes(&self, len: usize) -> Vec<u8> {
        let written =
            self.stdout.wait(PATIENCE, |text| (text.bytes.len() >= len).then(|| text.bytes.clone()));
        written.unwrap_or_else(|| {
            let stdout = self.stdout.lock().bytes.len();
            panic!("`moqt {}` wrote {stdout} bytes, not {len}; it said:\n{}", self.name, self.stderr())
        })
    }

    /// All of stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().bytes).into_owned()
    }

    /// All of stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.lock().bytes.clone()
    }

    /// Waits until the program ends by itself, within `patience`. Its output is complete then.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        // Both pipes end with the program.
        let over = self.stderr.wait(patience, |text| text.over.then_some(()));
        assert!(over.is_some(), "`moqt {}` goes on; it said:\n{}", self.name, self.stderr());
        self.stdout.wait(patience, |text| text.over.then_some(()));
        self.child.wait().expect("it ran")
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn ends(&mut self) -> ExitStatus {
        self.ends_within(PATIENCE)
    }

    /// Whether the program still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes the program's input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Asks the program to end: SIGTERM.
    ///
    /// # Panics
    ///
    /// When it cannot be asked.
    pub fn terminate(&self) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("there is kill");
        assert!(status.success(), "`moqt {}` cannot be signalled", self.name);
    }

    /// Kills the program without warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory, in bytes; `None` where the system does not tell.
    pub fn resident(&self) -> Option<u64> {
        let mut status = String::new();
        let path = format!("/proc/{}/status", self.id());
        std::fs::File::open(path).ok()?.read_to_string(&mut status).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A relay on a free port of this machine.
#[derive(Debug)]
pub struct Relay {
    /// The relay's process.
    pub process: Process,
    address: String,
    fingerprint: String,
}

impl Relay {
    /// Starts a relay.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", options)
    }

    /// Starts a relay at an address, such as that of one that was killed.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_at(address: &str, options: &[&str]) -> Self {
        let mut args = vec!["relay", "--dev", "--bind", address];
        args.extend_from_slice(options);
        let process = Process::start(&args);
        let line = process.says("http://");
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .expect("the relay says its address")
            .to_owned();
        let line = process.says("--tls-fingerprint ");
        let fingerprint = line.split("--tls-fingerprint ").nth(1).expect("and its fingerprint").trim();
        let fingerprint = fingerprint.to_owned();
        Self { process, address, fingerprint }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL with `http://`, that needs no other option.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The URL for a scheme, and the option that pins the certificate.
    pub fn pinned(&self, scheme: &str) -> [String; 3] {
        let url = format!("{scheme}://{}/", self.address);
        [url, "--tls-fingerprint".to_owned(), self.fingerprint.clone()]
    }
}

/// An address of this machine that is free over UDP and TCP, as far as one can know.
///
/// # Panics
///
/// When there is none.
pub fn free_address() -> String {
    for _ in 0..100 {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = udp.local_addr().expect("it is bound");
        if std::net::TcpListener::bind(address).is_ok() {
            return address.to_string();
        }
    }
    panic!("no port is free over UDP and TCP");
}

/// A folder for one test, removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqt-e2e-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    /// A file in it, as text for a command line.
    ///
    /// # Panics
    ///
    /// When the system's folder for temporary files is not UTF-8.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
