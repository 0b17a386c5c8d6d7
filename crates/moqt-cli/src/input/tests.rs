//! Tests of cutting, grouping and pacing.

use tokio::io::AsyncWriteExt as _;

use super::*;

async fn all(cut: Cut, input: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(input, cut);
    let mut all = Vec::new();
    while let Some(frame) = frames.next().await.unwrap() {
        all.push(frame.to_vec());
    }
    all
}

#[tokio::test]
async fn raw_frames_are_full_as_long_as_there_is_enough() {
    assert_eq!(all(Cut::Raw { size: 3 }, b"abcdefgh").await, [&b"abc"[..], b"def", b"gh"]);
    assert_eq!(all(Cut::Raw { size: 3 }, b"").await, [b""; 0]);
}

#[tokio::test]
async fn a_chunk_is_a_frame_at_once_however_short() {
    let (mut near, far) = tokio::io::duplex(100);
    let mut frames = Frames::new(far, Cut::Raw { size: 64 });
    for chunk in [&b"a"[..], b"bcd", b"e"] {
        near.write_all(chunk).await.unwrap();
        assert_eq!(frames.next().await.unwrap().unwrap(), chunk);
    }
    drop(near);
    assert_eq!(frames.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_line_is_a_frame_without_its_end() {
    let lines = all(Cut::Lines, b"one\n\nthree\r\nlast").await;
    assert_eq!(lines, [&b"one"[..], b"", b"three\r", b"last"]);
    assert_eq!(all(Cut::Lines, b"\n").await, [b""]);
    assert_eq!(all(Cut::Lines, b"").await, [b""; 0]);
}

#[tokio::test]
async fn lines_come_whole_whatever_the_pieces_were() {
    let (mut near, far) = tokio::io::duplex(7);
    let line = "x".repeat(200_000);
    let text = format!("{line}\nshort\n{line}");
    let expected = [line.clone(), "short".to_owned(), line];
    let write = async move {
        near.write_all(text.as_bytes()).await.unwrap();
        drop(near);
    };
    let read = async {
        let mut frames = Frames::new(far, Cut::Lines);
        for line in expected {
            assert_eq!(frames.next().await.unwrap().unwrap(), line);
        }
        assert_eq!(frames.next().await.unwrap(), None);
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn a_line_longer_than_any_frame_is_refused() {
    let mut frames = Frames::new(tokio::io::repeat(b'x'), Cut::Lines);
    let error = frames.next().await.unwrap_err();
    assert!(error.to_string().contains("--format raw"), "{error}");
}

/// Which of the frames begin a group, and which end one.
fn groups(grouper: &mut Grouper, frames: usize, len: usize, apart: Duration) -> (Vec<usize>, Vec<usize>) {
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    let mut at = now();
    for frame in 0..frames {
        if grouper.place(at, len) {
            begin.push(frame);
        }
        if grouper.ends() {
            end.push(frame);
        }
        at += apart;
    }
    (begin, end)
}

#[tokio::test]
async fn a_group_has_as_many_frames_as_wanted_and_ends_with_the_last() {
    let mut grouper = Grouper::new(Grouping::Frames(3));
    let found = groups(&mut grouper, 8, 10, Duration::ZERO);
    assert_eq!(found, (vec![0, 3, 6], vec![2, 5]));
}

#[tokio::test]
async fn a_group_lasts_as_long_as_wanted() {
    let mut grouper = Grouper::new(Grouping::Every(Duration::from_millis(100)));
    let found = groups(&mut grouper, 9, 10, Duration::from_millis(33));
    assert_eq!(found, (vec![0, 4, 8], vec![]));
}

#[tokio::test]
async fn a_group_ends_before_it_is_too_large_to_be_kept() {
    let mut grouper = Grouper::new(Grouping::Every(Duration::from_secs(3600)));
    let found = groups(&mut grouper, 40, 1 << 20, Duration::ZERO);
    assert_eq!(found.0, [0, 16, 32]);
    let mut grouper = Grouper::new(Grouping::Frames(u64::MAX));
    assert_eq!(groups(&mut grouper, 70_000, 1, Duration::ZERO).0, [0, 1 << 15, 1 << 16]);
}

#[tokio::test(start_paused = true)]
async fn paced_frames_leave_evenly_and_at_the_rate() {
    let mut pacer = Pacer::new(800_000);
    let began = now();
    let mut left = Vec::new();
    for _ in 0..101 {
        pacer.pass(1000).await;
        left.push(began.elapsed());
    }
    // 1000 bytes are 10 ms.
    for (index, at) in left.iter().enumerate() {
        let due = Duration::from_millis(10) * index as u32;
        assert!(at.abs_diff(due) <= Duration::from_millis(1), "frame {index} left at {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_input_is_not_followed_by_a_burst() {
    let mut pacer = Pacer::new(800_000);
    pacer.pass(1000).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let began = now();
    for _ in 0..100 {
        pacer.pass(1000).await;
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(940), "100 frames of 10 ms took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_larger_than_a_second_is_waited_for_afterwards() {
    let mut pacer = Pacer::new(8_000);
    let began = now();
    pacer.pass(5_000).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    pacer.pass(1).await;
    assert!(began.elapsed().abs_diff(Duration::from_secs(5)) <= Duration::from_millis(1));
}

#[test]
fn raw_frames_fit_the_rate_within_bounds() {
    assert_eq!(Pacer::frame_size(8_000), 1 << 10);
    assert_eq!(Pacer::frame_size(1_000_000), 6250);
    assert_eq!(Pacer::frame_size(1_000_000_000), 64 << 10);
}
