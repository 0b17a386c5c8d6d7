//! Files from ffmpeg, and what ffprobe says of files.
#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Flags that write one sample a fragment; see the page on ffmpeg.
pub const FLAGS: &str = "-movflags cmaf+separate_moof+skip_trailer -frag_duration 1";
/// The same, with a header that knows the first packets and so has edit lists.
pub const EDITS: &str = "-movflags cmaf+separate_moof+skip_trailer+delay_moov -frag_duration 1";
pub const H264: &str = "-c:v libx264 -preset ultrafast -g 30 -bf 2 -x264-params b-adapt=0";
pub const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30";

/// Whether ffmpeg and ffprobe are here. Says so if not.
pub fn ffmpeg_is_here() -> bool {
    let works = |name| {
        let mut command = Command::new(name);
        command
            .arg("-version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let here = works("ffmpeg") && works("ffprobe");
    if !here {
        eprintln!("skipped: ffmpeg and ffprobe are not installed here");
    }
    here
}

/// A folder of its own, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A moving picture and a tone, encoded; `None`, and a word why, if this ffmpeg has no such encoder.
pub fn encode(file: &Path, seconds: u32, options: &str) -> Option<()> {
    let line = format!(
        "-v error -y -f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 \
         -t {seconds} -pix_fmt yuv420p {options}"
    );
    let mut command = Command::new("ffmpeg");
    command.env("SVT_LOG", "1").stdin(Stdio::null());
    let output = command.args(line.split_whitespace()).arg("-f").arg("mp4").arg(file).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.contains("Unknown encoder") {
        eprintln!("skipped: this ffmpeg lacks an encoder: {options}");
        return None;
    }
    assert!(output.status.success(), "{line}: {words}");
    Some(())
}

/// Each packet as ffprobe sees it, by stream: times, duration, key or not, and a hash of its bytes.
pub fn packets(file: &Path) -> Vec<Vec<String>> {
    let entries = "packet=stream_index,pts_time,dts_time,duration_time,flags,size,data_hash";
    let line = format!("-v error -show_packets -show_data_hash md5 -show_entries {entries} -of compact=p=0");
    let output = Command::new("ffprobe").args(line.split_whitespace()).arg(file).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut streams: Vec<Vec<String>> = Vec::new();
    for packet in String::from_utf8(output.stdout).unwrap().lines() {
        let index = packet.split('|').find_map(|field| field.strip_prefix("stream_index=")).unwrap();
        let index: usize = index.parse().unwrap();
        streams.resize(streams.len().max(index + 1), Vec::new());
        streams[index].push(packet.to_owned());
    }
    streams
}

/// Decodes a file to its end, with the times of the file; ffmpeg has nothing to say.
pub fn decodes(file: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror", "-i"]).arg(file).args([
        "-enc_time_base",
        "-1",
        "-f",
        "null",
        "-",
    ]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{}: {words}", file.display());
}
