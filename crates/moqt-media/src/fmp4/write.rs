//! The header of a file that is written: `ftyp` and `moov`, box by box.

use mp4_atom::{
    Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Tkhd, Trex, Url, Vmhd,
};

use super::boxes::{put, put_atom};
use crate::{
    catalog::{Kind, Track},
    codec,
};

/// A track of the file.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) id: u32,
    pub(super) track: &'a Track,
    pub(super) timescale: u32,
    pub(super) media_time: u64,
}

/// `ftyp` and `moov`.
pub(super) fn header(tracks: &[Header<'_>]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let brands = [b"iso6", b"cmfc", b"mp41"].map(|brand| brand.into());
    put_atom(
        &mut out,
        &Ftyp { major_brand: b"iso6".into(), minor_version: 0, compatible_brands: brands.into() },
    );
    // What cannot be written is found before a box is begun.
    let entries: Vec<Vec<u8>> = tracks.iter().map(|header| entry(header.track)).collect::<Result<_, _>>()?;
    put(&mut out, b"moov", |out| {
        let next_track_id = u32::try_from(tracks.len()).unwrap_or(u32::MAX).saturating_add(1);
        put_atom(
            out,
            &Mvhd { timescale: 1000, rate: 1.into(), volume: 1.into(), next_track_id, ..Default::default() },
        );
        for (header, entry) in tracks.iter().zip(&entries) {
            put(out, b"trak", |out| trak(out, header, entry));
        }
        put(out, b"mvex", |out| {
            for header in tracks {
                let trex =
                    Trex { track_id: header.id, default_sample_description_index: 1, ..Default::default() };
                put_atom(out, &trex);
            }
        });
    });
    Ok(out)
}

fn trak(out: &mut Vec<u8>, header: &Header<'_>, entry: &[u8]) {
    let track = header.track;
    let size = |size: Option<u32>| u16::try_from(size.unwrap_or_default()).unwrap_or(u16::MAX);
    let audio = track.kind == Kind::Audio;
    put_atom(
        out,
        &Tkhd {
            track_id: header.id,
            enabled: true,
            in_movie: true,
            volume: u8::from(audio).into(),
            width: size(track.width).into(),
            height: size(track.height).into(),
            ..Default::default()
        },
    );
    if header.media_time > 0 {
        let cut =
            ElstEntry { segment_duration: 0, media_time: Some(header.media_time), media_rate: 1.into() };
        put_atom(out, &Edts { elst: Some(Elst { entries: vec![cut] }) });
    }
    put(out, b"mdia", |out| {
        let language = track.lang.as_deref().filter(|lang| lang.len() == 3).unwrap_or("und").to_owned();
        put_atom(out, &Mdhd { timescale: header.timescale, language, ..Default::default() });
        let handler = if audio { b"soun" } else { b"vide" };
        put_atom(out, &Hdlr { handler: handler.into(), name: String::new() });
        put(out, b"minf", |out| {
            if audio {
                put_atom(out, &Smhd::default());
            } else {
                put_atom(out, &Vmhd::default());
            }
            let here = DrefEntry::Url(Url::default());
            put_atom(out, &Dinf { dref: Dref { entries: vec![here] } });
            put(out, b"stbl", |out| {
                put(out, b"stsd", |out| {
                    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
                    out.extend_from_slice(entry);
                });
                for (kind, len) in [(b"stts", 8), (b"stsc", 8), (b"stsz", 12), (b"stco", 8)] {
                    put(out, kind, |out| out.resize(out.len() + len, 0));
                }
            });
        });
    });
}

/// A configuration: the type of its box, and what is in it.
type Config = (&'static [u8; 4], Vec<u8>);

/// What a decoder is set up with: the type of the sample entry, and the box in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    entry: &'static [u8; 4],
    config: Option<Config>,
}

/// What a track is written as, or why it cannot be.
pub(super) fn coding(track: &Track) -> Result<Coding, String> {
    let family = track.codec.split('.').next().unwrap_or_default();
    let description = track.description.as_deref();
    let needs = || description.ok_or("its catalog has no description of the codec".to_owned());
    let wrong = || format!("its codec {} cannot be understood", track.codec);
    let unknown = || format!("its codec {} has no form in MP4 here", track.codec);
    let (entry, config): (&[u8; 4], Option<Config>) = match track.kind {
        Kind::Video => {
            let (entry, kind, body): (&[u8; 4], _, Vec<u8>) = match family {
                "avc1" => (b"avc1", b"avcC", needs()?.into()),
                "avc3" => (b"avc3", b"avcC", needs()?.into()),
                "hvc1" => (b"hvc1", b"hvcC", needs()?.into()),
                "hev1" => (b"hev1", b"hvcC", needs()?.into()),
                "av01" => (b"av01", b"av1C", codec::av1_record(&track.codec).ok_or_else(wrong)?.into()),
                "vp09" => (b"vp09", b"vpcC", codec::vpx_body(&track.codec).ok_or_else(wrong)?.into()),
                "vp8" | "vp08" => (b"vp08", b"vpcC", codec::vpx_body("vp8").ok_or_else(wrong)?.into()),
                "jpeg" => (b"mp4v", b"esds", esds(0x6c, 4, None)),
                _ => return Err(unknown()),
            };
            (entry, Some((kind, body)))
        }
        Kind::Audio => {
            let channels = u8::try_from(track.channels.unwrap_or(2)).unwrap_or(2);
            match (family, track.codec.as_str()) {
                ("mp4a", "mp4a.69" | "mp4a.6B") | ("mp3", _) => {
                    (b"mp4a", Some((b"esds", esds(0x6b, 5, None))))
                }
                ("mp4a", _) => (b"mp4a", Some((b"esds", esds(0x40, 5, Some(needs()?))))),
                ("opus", _) => {
                    let body = codec::opus_body(description, channels).ok_or_else(wrong)?;
                    (b"Opus", Some((b"dOps", body)))
                }
                ("flac", _) => {
                    let blocks = needs()?.strip_prefix(b"fLaC").ok_or_else(wrong)?;
                    (b"fLaC", Some((b"dfLa", [&[0; 4], blocks].concat())))
                }
                ("pcm-s16", _) => (b"sowt", None),
                _ => return Err(unknown()),
            }
        }
    };
    Ok(Coding { entry, config })
}

/// The sample entry of a track.
fn entry(track: &Track) -> Result<Vec<u8>, String> {
    let Coding { entry, config } = coding(track)?;
    let mut out = Vec::new();
    put(&mut out, entry, |out| {
        match track.kind {
            Kind::Video => visual(out, track),
            Kind::Audio => sound(out, track),
        }
        if let Some((kind, body)) = config {
            put(out, kind, |out| out.extend_from_slice(&body));
        }
    });
    Ok(out)
}

/// What each entry of pictures begins with.
fn visual(out: &mut Vec<u8>, track: &Track) {
    let size = |size: Option<u32>| u16::try_from(size.unwrap_or_default()).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&size(track.width));
    out.extend_from_slice(&size(track.height));
    // 72 dots an inch, both ways.
    out.extend_from_slice(&[0, 72, 0, 0, 0, 72, 0, 0, 0, 0, 0, 0]);
    // One frame a sample.
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&[0; 32]);
    // Colours, and no palette.
    out.extend_from_slice(&[0, 24, 0xff, 0xff]);
}

/// What each entry of sound begins with.
fn sound(out: &mut Vec<u8>, track: &Track) {
    let channels = u16::try_from(track.channels.unwrap_or(2)).unwrap_or(2);
    // A rate that does not fit is said by the codec's configuration alone.
    let rate = u16::try_from(track.sample_rate.unwrap_or_default()).unwrap_or(0);
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&channels.to_be_bytes());
    out.extend_from_slice(&[0, 16, 0, 0, 0, 0]);
    out.extend_from_slice(&rate.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

/// The body of an `esds`: a stream of this object type, 4 for pictures and 5 for sound.
fn esds(object_type: u8, stream: u8, config: Option<&[u8]>) -> Vec<u8> {
    let mut decoder = vec![object_type, stream << 2 | 1, 0, 0x18, 0];
    // Some players want bit rates that are not 0.
    decoder.extend_from_slice(&[0, 1, 0xf4, 0, 0, 1, 0xf4, 0]);
    if let Some(config) = config {
        descriptor(&mut decoder, 5, config);
    }
    let mut stream = vec![0, 1, 0];
    descriptor(&mut stream, 4, &decoder);
    descriptor(&mut stream, 6, &[2]);
    let mut out = vec![0; 4];
    descriptor(&mut out, 3, &stream);
    out
}

fn descriptor(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    let seven = |shift: usize| u8::try_from(body.len() >> shift & 0x7f).unwrap_or_default();
    out.extend_from_slice(&[tag, 0x80 | seven(21), 0x80 | seven(14), 0x80 | seven(7), seven(0)]);
    out.extend_from_slice(body);
}
