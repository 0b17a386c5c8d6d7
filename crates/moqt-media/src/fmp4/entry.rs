//! Sample entries: codec and configuration of a track.

use bytes::Bytes;
use mp4_atom::Esds;

use super::{
    Error,
    boxes::{Box, name, read_u16, read_u32},
    movie::Track,
};
use crate::{catalog::Kind, codec};

/// Bytes in front of the boxes of an entry.
const VISUAL: usize = 78;
const AUDIO: usize = 28;

/// A codec's name, of the type of its entry and its configuration.
type Name = fn(&str, &[u8]) -> Option<String>;

/// Reads the first entry of an `stsd` into the track. `Err` in the inner result: what keeps it from being used.
pub(super) fn read(stsd: &Box<'_>, track: &mut Track) -> Result<Result<(), String>, Error> {
    let Some(entry) = stsd.children(8).next() else { return Ok(Err("it has no sample entry".to_owned())) };
    let entry = entry?;
    let kind = name(entry.kind);
    if matches!(&entry.kind, b"encv" | b"enca") {
        return Ok(Err("it is encrypted".to_owned()));
    }
    match track.kind {
        Kind::Video => {
            let size = |at| read_u16(entry.body, at).filter(|size| *size > 0).map(u32::from);
            (track.width, track.height) = (size(24), size(26));
            video(&entry, &kind, track)
        }
        Kind::Audio => {
            track.channels = read_u16(entry.body, 16).filter(|channels| *channels > 0).map(u32::from);
            track.sample_rate = read_u32(entry.body, 24).map(|rate| rate >> 16).filter(|rate| *rate > 0);
            audio(&entry, &kind, track)
        }
    }
}

fn video(entry: &Box<'_>, kind: &str, track: &mut Track) -> Result<Result<(), String>, Error> {
    let config = |wanted: &[u8; 4]| find(entry, VISUAL, wanted);
    if entry.kind == *b"mp4v" {
        let Some(esds) = config(b"esds")? else { return Ok(Err(format!("its {kind} has no esds"))) };
        return Ok(match esds.decode::<Esds>()?.es_desc.dec_config.object_type_indication {
            0x6c => {
                "jpeg".clone_into(&mut track.codec);
                Ok(())
            }
            other => Err(format!("its codec mp4v with object type {other:#x} is not known here")),
        });
    }
    let (wanted, codec): (_, Name) = match &entry.kind {
        b"avc1" | b"avc3" => (b"avcC", codec::avc),
        b"hvc1" | b"hev1" => (b"hvcC", codec::hevc),
        b"av01" => (b"av1C", |_, record| codec::av1(record)),
        b"vp08" | b"vp09" => (b"vpcC", codec::vpx),
        _ => return Ok(Err(format!("its codec {kind} is not known here"))),
    };
    let Some(record) = config(wanted)? else {
        return Ok(Err(format!("its {kind} has no {}", name(*wanted))));
    };
    let Some(codec) = codec(kind, record.body) else {
        return Err(record.wrong("it is too short, or of another version"));
    };
    track.codec = codec;
    track.description = matches!(wanted, b"avcC" | b"hvcC").then(|| Bytes::copy_from_slice(record.body));
    Ok(Ok(()))
}

fn audio(entry: &Box<'_>, kind: &str, track: &mut Track) -> Result<Result<(), String>, Error> {
    let missing = |wanted: &str| Ok(Err(format!("its {kind} has no {wanted}")));
    match &entry.kind {
        b"mp4a" => {
            let Some(esds) = find(entry, AUDIO, b"esds")? else { return missing("esds") };
            let config = esds.decode::<Esds>()?.es_desc.dec_config;
            match config.object_type_indication {
                0x40 => {
                    let Some(config) = config.dec_specific.filter(|config| config.raw.len() >= 2) else {
                        return missing("configuration");
                    };
                    track.codec = codec::aac(&config.raw).unwrap_or_default();
                    track.description = Some(config.raw.into());
                }
                0x69 | 0x6b => "mp3".clone_into(&mut track.codec),
                other => {
                    return Ok(Err(format!("its codec mp4a with object type {other:#x} is not known here")));
                }
            }
        }
        b"Opus" => {
            let Some(config) = find(entry, AUDIO, b"dOps")? else { return missing("dOps") };
            let head = codec::opus_head(config.body).ok_or_else(|| config.wrong("it is too short"))?;
            "opus".clone_into(&mut track.codec);
            track.sample_rate = Some(48_000);
            track.description = Some(head);
        }
        b"fLaC" => {
            let Some(config) = find(entry, AUDIO, b"dfLa")? else { return missing("dfLa") };
            let blocks = config.body.get(4..).filter(|blocks| blocks.len() >= 38);
            let blocks = blocks.ok_or_else(|| config.wrong("it is too short"))?;
            "flac".clone_into(&mut track.codec);
            track.description = Some([b"fLaC", blocks].concat().into());
        }
        b"sowt" if read_u16(entry.body, 18) == Some(16) => "pcm-s16".clone_into(&mut track.codec),
        _ => return Ok(Err(format!("its codec {kind} is not known here"))),
    }
    // An entry cannot say a rate above 65,535.
    track.sample_rate = track.sample_rate.or(Some(track.timescale.get()));
    track.channels = track.channels.or(Some(2));
    Ok(Ok(()))
}

fn find<'a>(entry: &Box<'a>, skip: usize, wanted: &[u8; 4]) -> Result<Option<Box<'a>>, Error> {
    for child in entry.children(skip) {
        let child = child?;
        if child.kind == *wanted {
            return Ok(Some(child));
        }
    }
    Ok(None)
}
