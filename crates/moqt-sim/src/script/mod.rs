//! A scripted peer: a test says what the other side of a session does, right or wrong, byte by byte.
//!
//! A [`Peer`] is one end of a simulated connection in the hands of the test; streams are [`PeerStream`]s.
//! Both send anything, also nonsense, and wait for what the session under test is to do. Whatever else
//! happens is a panic that names the line of the script and what came instead; so does waiting for more than
//! the [patience](Peer::patience), 10 virtual seconds.
//!
//! ```
//! use moqt_sim::{Link, script::Peer};
//! use moqt_wire::{Version, transfork::{Info, InfoPlease, StreamKind, code}};
//! # use moqt_wire::FullTrackName;
//!
//! moqt_sim::for_each_seed(|sim| async move {
//!     let (near, far) = sim.connect(Link::ideal());
//! #   let track = "cam/video".parse::<FullTrackName>().unwrap();
//! #   sim.spawn(async move {
//! #       let mut session = Peer::client(near).handshake(Version::TRANSFORK_04).await;
//! #       let mut stream = session.request(StreamKind::Info, &InfoPlease { track }).await;
//! #       stream.expect_reset(code::NOT_FOUND).await;
//! #       session.close(code::DECODE, "what was that?");
//! #   });
//!     // A session under test has `near`; the script plays a server that knows no track.
//!     let mut peer = Peer::server(far).handshake(Version::TRANSFORK_04).await;
//!     let (mut stream, _request) = peer.serve::<InfoPlease>(StreamKind::Info).await;
//!     stream.reset(code::NOT_FOUND);
//!     peer.open_uni().await.send_raw(&b"\xff\xff\xff"[..]).await;
//!     peer.expect_close(code::DECODE).await;
//! });
//! ```

mod peer;
mod stream;

use std::{fmt, future::Future, panic::Location, time::Duration};

use tokio::time::timeout;

pub use peer::Peer;
pub use stream::PeerStream;

/// A code, in whichever form the test has it.
pub trait AnyCode {
    /// The code as the transport carries it.
    fn code(self) -> moqt_transport::Code;
}

impl AnyCode for moqt_transport::Code {
    fn code(self) -> moqt_transport::Code {
        self
    }
}

impl AnyCode for moqt_wire::Code {
    fn code(self) -> moqt_transport::Code {
        moqt_transport::Code(self.0)
    }
}

impl AnyCode for u64 {
    fn code(self) -> moqt_transport::Code {
        moqt_transport::Code(self)
    }
}

/// One step of a script: where it stands and what it waits for.
#[derive(Clone, Debug)]
struct Step {
    line: &'static Location<'static>,
    waits_for: String,
    patience: Duration,
}

impl Step {
    /// Belongs to the caller's caller's line.
    #[track_caller]
    fn new(patience: Duration, waits_for: impl Into<String>) -> Self {
        Self { line: Location::caller(), waits_for: waits_for.into(), patience }
    }

    /// The same line, waiting for something else.
    fn then(&self, waits_for: impl Into<String>) -> Self {
        Self { waits_for: waits_for.into(), ..self.clone() }
    }

    /// Ends the test: something else came.
    fn fail(&self, instead: impl fmt::Display) -> ! {
        panic!("{}: the script waits for {}, but {instead}", self.line, self.waits_for)
    }

    /// Waits for `future` as long as the script is patient.
    async fn wait<F: Future>(&self, future: F) -> F::Output {
        match timeout(self.patience, future).await {
            Ok(output) => output,
            Err(_) => self.fail(format_args!("nothing happened within {:?}", self.patience)),
        }
    }
}
