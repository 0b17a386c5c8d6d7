//! Codecs' configurations: their names for WebCodecs, and from one container's form to another's.

use std::fmt::Write as _;

use bytes::Bytes;

/// `avc1.` and profile, constraints and level of an AVCDecoderConfigurationRecord.
#[must_use]
pub fn avc(entry: &str, record: &[u8]) -> Option<String> {
    let [1, profile, constraints, level, ..] = record else { return None };
    Some(format!("{entry}.{profile:02x}{constraints:02x}{level:02x}"))
}

/// `hvc1.` and what an HEVCDecoderConfigurationRecord says.
#[must_use]
pub fn hevc(entry: &str, record: &[u8]) -> Option<String> {
    let [1, profile, compatible @ ..] = record else { return None };
    let (compatible, rest) = compatible.split_first_chunk::<4>()?;
    let (constraints, rest) = rest.split_first_chunk::<6>()?;
    let level = rest.first()?;
    let space = ["", "A", "B", "C"].get(usize::from(profile >> 6))?;
    let tier = if profile >> 5 & 1 == 1 { 'H' } else { 'L' };
    let compatible = u32::from_be_bytes(*compatible).reverse_bits();
    let mut text = format!("{entry}.{space}{}.{compatible:X}.{tier}{level}", profile & 0x1f);
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        let _ = write!(text, ".{byte:X}");
    }
    Some(text)
}

/// `av01.` and what an AV1CodecConfigurationRecord says.
#[must_use]
pub fn av1(record: &[u8]) -> Option<String> {
    let [0x81, first, second, ..] = record else { return None };
    let tier = if second >> 7 == 1 { 'H' } else { 'M' };
    let depth = match (second >> 6 & 1, second >> 5 & 1) {
        (0, _) => 8,
        (_, 0) => 10,
        _ => 12,
    };
    Some(format!("av01.{}.{:02}{tier}.{depth:02}", first >> 5, first & 0x1f))
}

/// The reverse: the record without the sequence header, which is in each key frame.
#[must_use]
pub fn av1_record(codec: &str) -> Option<[u8; 4]> {
    let mut parts = codec.strip_prefix("av01.")?.split('.');
    let profile: u8 = parts.next()?.parse().ok().filter(|profile| *profile < 8)?;
    let level = parts.next()?;
    let tier = u8::from(level.ends_with('H'));
    let level: u8 = level.trim_end_matches(['M', 'H']).parse().ok().filter(|level| *level < 32)?;
    let depth = match parts.next()? {
        "08" | "8" => 0,
        "10" => 0b10,
        "12" => 0b11,
        _ => return None,
    };
    // 4:2:0 in the main profile, which is what nearly all streams have.
    let chroma = if profile == 0 { 0b0000_1100 } else { 0 };
    Some([0x81, profile << 5 | level, tier << 7 | depth << 5 | chroma, 0])
}

/// `vp09.` and what the body of a `vpcC` box says.
#[must_use]
pub fn vpx(entry: &str, body: &[u8]) -> Option<String> {
    let [_, _, _, _, profile, level, depth, ..] = body else { return None };
    if entry == "vp08" {
        return Some("vp8".to_owned());
    }
    // Unknown is no level to a browser.
    let level = if *level == 0 { 10 } else { *level };
    Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4))
}

/// The reverse, for VP8 and VP9: 4:2:0, limited range, colours not said.
#[must_use]
pub fn vpx_body(codec: &str) -> Option<[u8; 12]> {
    let mut parts = codec.split('.').skip(1).map(str::parse::<u8>);
    let mut next = |default| parts.next().unwrap_or(Ok(default)).ok();
    let (profile, level, depth) = (next(0)?, next(10)?, next(8)?);
    let depth = u8::try_from(u32::from(depth) << 4).ok()?;
    Some([1, 0, 0, 0, profile, level, depth | 1 << 1, 2, 2, 2, 0, 0])
}

/// `mp4a.40.` and the object type of an AudioSpecificConfig.
#[must_use]
pub fn aac(config: &[u8]) -> Option<String> {
    let [first, second, ..] = config else { return None };
    let object = match first >> 3 {
        31 => 32 + ((first & 7) << 3 | second >> 5),
        object => object,
    };
    Some(format!("mp4a.40.{object}"))
}

/// An OpusHead of the body of a `dOps` box.
#[must_use]
pub fn opus_head(body: &[u8]) -> Option<Bytes> {
    let [0, channels, skip1, skip2, r1, r2, r3, r4, g1, g2, family, mapping @ ..] = body else { return None };
    let mut head = b"OpusHead\x01".to_vec();
    head.extend_from_slice(&[*channels, *skip2, *skip1, *r4, *r3, *r2, *r1, *g2, *g1, *family]);
    if *family != 0 {
        head.extend_from_slice(mapping.get(..2 + usize::from(*channels))?);
    }
    Some(head.into())
}

/// The body of a `dOps` box of an OpusHead; without one, of as many channels and the usual delay.
#[must_use]
pub fn opus_body(head: Option<&[u8]>, channels: u8) -> Option<Vec<u8>> {
    let Some(head) = head else {
        return Some(vec![0, channels, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0]);
    };
    let rest = head.strip_prefix(b"OpusHead")?;
    let [_, channels, skip1, skip2, r1, r2, r3, r4, g1, g2, family, mapping @ ..] = rest else { return None };
    let mut body = vec![0, *channels, *skip2, *skip1, *r4, *r3, *r2, *r1, *g2, *g1, *family];
    if *family != 0 {
        body.extend_from_slice(mapping.get(..2 + usize::from(*channels))?);
    }
    Some(body)
}

/// How long an Opus packet lasts, in samples of 48 kHz.
#[must_use]
pub fn opus_duration(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880].get(usize::from(config & 3)).copied()?,
        config @ 12..16 => [480, 960].get(usize::from(config & 1)).copied()?,
        config => [120, 240, 480, 960].get(usize::from(config & 3)).copied()?,
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_the_names_that_browsers_take() {
        assert_eq!(avc("avc1", &[1, 0x42, 0xc0, 0x0d, 0xff]).as_deref(), Some("avc1.42c00d"));
        let hvcc = [1, 0x01, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93];
        assert_eq!(hevc("hvc1", &hvcc).as_deref(), Some("hvc1.1.6.L93.90"));
        assert_eq!(av1(&[0x81, 0x05, 0x4c, 0]).as_deref(), Some("av01.0.05M.10"));
        assert_eq!(vpx("vp09", &[1, 0, 0, 0, 0, 31, 0x82, 2]).as_deref(), Some("vp09.00.31.08"));
        assert_eq!(vpx("vp08", &[1, 0, 0, 0, 0, 0, 0x82, 2]).as_deref(), Some("vp8"));
        assert_eq!(aac(&[0x11, 0x88, 0x56, 0xe5, 0]).as_deref(), Some("mp4a.40.2"));
        assert_eq!(aac(&[0xf9, 0x40]).as_deref(), Some("mp4a.40.42"));
        for short in [&[][..], &[1], &[0x81, 0]] {
            assert_eq!((avc("avc1", short), hevc("hvc1", short), av1(short)), (None, None, None));
        }
    }

    #[test]
    fn names_become_records_that_say_the_same() {
        for codec in ["av01.0.05M.08", "av01.0.13H.10", "av01.2.08M.12"] {
            assert_eq!(av1(&av1_record(codec).unwrap()).as_deref(), Some(codec));
        }
        for codec in ["vp09.00.10.08", "vp09.02.51.10"] {
            assert_eq!(vpx("vp09", &vpx_body(codec).unwrap()).as_deref(), Some(codec));
        }
        for wrong in ["av01", "av01.0", "av01.9.05M.08", "av01.0.99M.08", "vp09.00.10.99"] {
            assert!(
                av1_record(wrong).is_none() && (wrong.starts_with('a') || vpx_body(wrong).is_none()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn opus_headers_change_their_byte_order() {
        let body = [0, 2, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0];
        let head = opus_head(&body).unwrap();
        assert_eq!(head, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0".as_slice());
        assert_eq!(opus_body(Some(&head), 9).unwrap(), body);
        assert_eq!(opus_body(None, 2).unwrap(), body);
        let surround = [0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 1, 0, 1, 2];
        assert_eq!(opus_body(Some(&opus_head(&surround).unwrap()), 0).unwrap(), surround);
        assert_eq!(opus_head(&surround[..14]), None);
    }

    #[test]
    fn opus_packets_say_how_long_they_last() {
        assert_eq!(opus_duration(&[0xfc]), Some(960));
        assert_eq!(opus_duration(&[0x00]), Some(480));
        assert_eq!(opus_duration(&[0x01]), Some(960));
        assert_eq!(opus_duration(&[0x83, 0x04]), Some(480));
        assert_eq!((opus_duration(&[]), opus_duration(&[3])), (None, None));
    }
}
