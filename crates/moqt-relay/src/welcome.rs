//! What a developer is told when the relay is ready.

use std::fmt::Write as _;

use crate::relay::Handle;

/// The URLs to use, and commands that work when pasted into another terminal.
pub(crate) fn welcome(handle: &Handle, started_by_cargo: bool) -> String {
    let moqt = if started_by_cargo { "cargo run --release --bin moqt --" } else { "moqt" };
    let mut text = String::from("\nThe relay is ready, for this machine only.\n\n");
    let Some(address) = handle.addresses().first() else { return text };
    // The name leads to whichever family is there; a single address is meant as it is.
    let host = match handle.addresses() {
        [address] => address.to_string(),
        _ => format!("localhost:{}", address.port()),
    };
    let _ = writeln!(
        text,
        "  http://{host}/    WebTransport; the client fetches the certificate's SHA-256 first.\n  \
         {:>width$}    In a browser: a page that plays what is on air, and shows your camera",
        "",
        width = host.len() + "http:///".len()
    );
    if let Some(fingerprint) = handle.fingerprint() {
        let _ = writeln!(text, "  https://{host}/   the same with --tls-fingerprint {fingerprint}");
        let _ = writeln!(text, "  moqf://{host}/    raw QUIC, with the same option");
    }
    let _ = write!(
        text,
        "\nA picture that moves, in a second terminal; then open http://{host}/ in Chromium:\n\n  \
         {moqt} pub http://{host}/ demo/test --format test\n\n\
         Or lines of text, in a second and a third terminal:\n\n  \
         while date; do sleep 1; done | {moqt} pub http://{host}/ demo --format lines\n  \
         {moqt} sub http://{host}/ demo --format lines\n\n"
    );
    text
}
