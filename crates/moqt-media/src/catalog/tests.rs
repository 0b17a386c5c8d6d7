//! What each format says, what is refused, and how far it may go.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const AVCC: &str = "0142c00dffe100176742c00dda05067e7c0440000003004000000f23c50aa801000468ce0fc8";

fn read(format: Format, document: &Value) -> Result<Broadcast, Error> {
    Reader::new(format).frame(document.to_string().as_bytes())
}

fn bytes(hex: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hang() -> Value {
    json!({
        "video": { "renditions": { "video": {
            "codec": "avc1.42c00d", "description": AVCC, "codedWidth": 320, "codedHeight": 180,
            "framerate": 29.97, "bitrate": 300_000, "container": { "kind": "loc", "more": [1, 2.5] },
            "com.example.score": { "of": 3 }
        } }, "rotation": 90 },
        "audio": { "renditions": { "audio": {
            "codec": "mp4a.40.2", "description": "118856e500", "sampleRate": 48000, "numberOfChannels": 1
        } } },
        "text": { "anything": true }
    })
}

fn msf() -> Value {
    json!({
        "version": "draft-01", "generatedAt": 1_795_305_600_000_u64,
        "tracks": [
            { "name": "video", "packaging": "loc", "isLive": true, "role": "video", "renderGroup": 1,
              "codec": "avc1.42c00d", "width": 320, "height": 180, "framerate": 30, "bitrate": 300_000,
              "initRef": "v", "targetLatency": 500 },
            { "name": "audio", "packaging": "loc", "isLive": true, "role": "audio", "renderGroup": 1,
              "codec": "opus", "samplerate": 48000, "channelConfig": "2", "bitrate": 64000 },
            { "name": "timeline", "packaging": "mediatimeline", "isLive": true, "role": "mediatimeline" }
        ],
        "initDataList": [{ "id": "v", "type": "inline",
            "data": "AULADf/hABdnQsAN2gUGfnwEQAAAAwBAAAAPI8UKqAEABGjOD8g=" }]
    })
}

fn common() -> Value {
    json!({
        "version": 1, "streamingFormat": 1, "streamingFormatVersion": "0.2", "supportsDeltaUpdates": true,
        "commonTrackFields": { "packaging": "loc", "renderGroup": 1, "selectionParams": { "lang": "en" } },
        "tracks": [
            { "name": "video-hi", "altGroup": 1, "initData": "AULADf/hABdnQsAN2gUGfnwEQAAAAwBAAAAPI8UKqAEABGjOD8g=",
              "selectionParams": { "codec": "avc1.42c01f", "width": 1280, "height": 720, "framerate": 30 } },
            { "name": "video-lo", "altGroup": 1, "depends": ["video-hi"],
              "selectionParams": { "codec": "avc1.42c00d", "width": 320, "height": 180, "bitrate": 300_000 } },
            { "name": "audio", "initData": "EYhW5QA=", "selectionParams": {
                "codec": "mp4a.40.2", "samplerate": 48000, "channelConfig": "1", "lang": "de" } }
        ]
    })
}

#[test]
fn documents_come_back_with_the_fields_that_are_not_known() {
    let typed = serde_json::to_value(hang::Catalog::from_value(&hang()).unwrap()).unwrap();
    assert_eq!(typed, hang());
    assert_eq!(serde_json::to_value(msf::Catalog::from_value(&msf()).unwrap()).unwrap(), msf());
    assert_eq!(serde_json::to_value(common::Catalog::from_value(&common()).unwrap()).unwrap(), common());
}

#[test]
fn a_player_finds_codec_configuration_and_packaging_in_each_format() {
    for (format, document) in [(Format::Hang, hang()), (Format::Msf, msf())] {
        let broadcast = read(format, &document).unwrap();
        assert_eq!(broadcast.problems, []);
        let [video, audio] = broadcast.tracks.as_slice() else { panic!("{broadcast:?}") };
        assert_eq!((video.kind, audio.kind), (Kind::Video, Kind::Audio));
        assert_eq!((video.codec.as_str(), &video.packaging), ("avc1.42c00d", &Packaging::Loc));
        assert_eq!(video.description, Some(bytes(AVCC)));
        assert_eq!((video.width, video.height), (Some(320), Some(180)));
        assert_eq!(audio.sample_rate, Some(48_000));
    }
    let broadcast = read(Format::Common, &common()).unwrap();
    let [high, low, audio] = broadcast.tracks.as_slice() else { panic!("{broadcast:?}") };
    assert_eq!((high.width, low.width), (Some(1280), Some(320)));
    assert_eq!(
        (high.lang.as_deref(), audio.lang.as_deref()),
        (Some("en"), Some("de")),
        "inherited by parameter"
    );
    assert_eq!(audio.description, Some(bytes("118856e500")));
}

#[test]
fn the_least_that_a_player_takes_is_taken() {
    let least = json!({ "video": { "renditions": { "v": { "codec": "avc3.42c00d" } } } });
    let broadcast = read(Format::Hang, &least).unwrap();
    assert_eq!(broadcast.tracks[0].packaging, Packaging::Legacy);
    let draft00 = json!({ "version": 1, "tracks": [
        { "name": "a", "packaging": "loc", "isLive": true, "codec": "mp4a.40.2", "initData": "EYhW5QA=" }] });
    let broadcast = read(Format::Msf, &draft00).unwrap();
    assert_eq!(broadcast.tracks[0].description, Some(bytes("118856e500")));
    assert_eq!((broadcast.tracks[0].kind, broadcast.tracks[0].channels), (Kind::Audio, Some(2)));
}

#[test]
fn a_bad_track_is_left_out_and_named_and_the_others_stay() {
    let mut document = hang();
    for (name, bad, why) in [
        ("base64", json!({ "codec": "avc1.42c00d", "description": "AULADf/h" }), "its description is no hex"),
        ("odd", json!({ "codec": "avc1.42c00d", "description": "014" }), "its description is no hex"),
        ("half", json!({ "codec": "vp8", "bitrate": 300_000.5 }), "invalid type: floating point"),
        ("none", json!({ "codedWidth": 320 }), "missing field `codec`"),
        ("init", json!({ "codec": "vp8", "container": { "kind": "cmaf" } }), "init segment is missing"),
        ("../up", json!({ "codec": "vp8" }), "leads elsewhere"),
    ] {
        document["video"]["renditions"][name] = bad;
        let broadcast = read(Format::Hang, &document).unwrap();
        assert_eq!(broadcast.tracks.len(), 2, "{name}");
        let problem = broadcast.problems.iter().find(|problem| problem.track == name).unwrap();
        assert!(problem.why.contains(why), "{problem:?}");
    }
    let mut document = msf();
    document["tracks"][0]["initRef"] = "x".into();
    document["tracks"][1]["name"] = 7.into();
    let problems = read(Format::Msf, &document).unwrap().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn what_is_no_catalog_is_refused_with_the_reason() {
    for (format, document, words) in [
        (Format::Hang, json!({ "video": {} }), "missing field `renditions`"),
        (Format::Hang, json!([]), "no hang catalog"),
        (Format::Hang, common(), "streamingFormat"),
        (Format::Msf, json!({ "version": 2, "tracks": [] }), "version 2 is not known"),
        (Format::Msf, json!({ "tracks": [] }), "missing field `version`"),
        (Format::Common, hang(), "missing field"),
        (
            Format::Common,
            json!({ "version": 1, "streamingFormat": 1, "streamingFormatVersion": "0.2", "tracks": [], "catalogs": [] }),
            "may have only one of them",
        ),
    ] {
        let error = read(format, &document).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for cut in [0, 1, 40, hang().to_string().len() - 1] {
        let error = Reader::new(Format::Hang).frame(&hang().to_string().as_bytes()[..cut]).unwrap_err();
        assert!(error.to_string().contains("no JSON: EOF"), "{error}");
    }
}

#[test]
fn a_hundred_thousand_tracks_end_in_a_clear_error() {
    let many = |count: usize, track: &str| {
        let tracks = vec![track; count].join(",");
        format!(r#"{{"version":"1","streamingFormat":1,"streamingFormatVersion":"1","tracks":[{tracks}]}}"#)
    };
    for format in [Format::Msf, Format::Common] {
        let long = many(100_000, r#"{"name":"video","packaging":"loc","codec":"vp8"}"#);
        assert_eq!(Reader::new(format).frame(long.as_bytes()), Err(Error::TooLong(long.len())));
        let short = many(100_000, "{}");
        assert_eq!(Reader::new(format).frame(short.as_bytes()), Err(Error::TooManyTracks(100_000)));
    }
    let renditions = (0..10_000).map(|at| format!(r#""{at}":{{}}"#)).collect::<Vec<_>>().join(",");
    let hang = format!(r#"{{"video":{{"renditions":{{{renditions}}}}}}}"#);
    assert_eq!(Reader::new(Format::Hang).frame(hang.as_bytes()), Err(Error::TooManyTracks(10_000)));
    let most = many(MAX_TRACKS, "{}");
    assert_eq!(Reader::new(Format::Msf).frame(most.as_bytes()).unwrap().problems.len(), MAX_TRACKS);
    assert!(Reader::new(Format::Msf).frame(many(MAX_TRACKS + 1, "{}").as_bytes()).is_err());
}

#[test]
fn depth_and_texts_have_their_limits() {
    let nested = |depth: usize| {
        let mut value = json!(1);
        (0..depth).for_each(|_| value = json!([value]));
        json!({ "x": value })
    };
    assert!(read(Format::Hang, &nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(read(Format::Hang, &nested(MAX_DEPTH)), Err(Error::TooDeep));
    assert!(read(Format::Hang, &json!({ "x": "y".repeat(MAX_STRING) })).is_ok());
    let long = json!({ "x": "y".repeat(MAX_STRING + 1) });
    assert_eq!(read(Format::Hang, &long), Err(Error::LongText(MAX_STRING + 1)));
}

#[test]
fn updates_of_each_kind_are_applied() {
    let mut reader = Reader::new(Format::Common);
    reader.frame(common().to_string().as_bytes()).unwrap();
    let patch = json!([{ "op": "remove", "path": "/tracks/0" }, { "op": "add", "path": "/tracks/-", "value":
        { "name": "slides", "selectionParams": { "codec": "vp8" } } }]);
    let names =
        |broadcast: Broadcast| broadcast.tracks.into_iter().map(|track| track.name).collect::<Vec<_>>();
    assert_eq!(names(reader.frame(patch.to_string().as_bytes()).unwrap()), ["video-lo", "audio", "slides"]);

    let mut reader = Reader::new(Format::Hang);
    reader.frame(hang().to_string().as_bytes()).unwrap();
    let merge = json!({ "audio": null, "video": { "renditions": { "video": { "bitrate": 9 } } } });
    let broadcast = reader.frame(merge.to_string().as_bytes()).unwrap();
    assert_eq!((broadcast.tracks.len(), broadcast.tracks[0].bitrate), (1, Some(9)));

    let mut reader = Reader::new(Format::Msf);
    reader.frame(msf().to_string().as_bytes()).unwrap();
    let operations = json!({ "generatedAt": 1, "deltaUpdate": [
        { "op": "clone", "tracks": [{ "parentName": "video", "name": "low", "width": 160 }] },
        { "op": "remove", "tracks": [{ "name": "audio" }] }] });
    let broadcast = reader.frame(operations.to_string().as_bytes()).unwrap();
    assert_eq!(broadcast.tracks[1].width, Some(160));
    assert_eq!(names(broadcast), ["video", "low"]);
    // Draft 00: in the order in which the lists stand, so that a name can be used again.
    let lists = r#"{"deltaUpdate":true,"removeTracks":[{"name":"low"}],
        "addTracks":[{"name":"low","packaging":"loc","role":"video","codec":"vp8"}]}"#;
    assert_eq!(names(reader.frame(lists.as_bytes()).unwrap()), ["video", "low"]);
    let reversed = r#"{"deltaUpdate":true,"addTracks":[{"name":"low"}],"removeTracks":[{"name":"low"}]}"#;
    assert!(matches!(reader.frame(reversed.as_bytes()), Err(Error::Update(_))));
}

#[test]
fn an_update_that_cannot_be_applied_changes_nothing() {
    let mut reader = Reader::new(Format::Common);
    assert_eq!(reader.frame(b"[]"), Err(Error::NothingToUpdate));
    reader.frame(common().to_string().as_bytes()).unwrap();
    let half =
        json!([{ "op": "remove", "path": "/tracks/0" }, { "op": "test", "path": "/version", "value": 2 }]);
    assert!(matches!(reader.frame(half.to_string().as_bytes()), Err(Error::Update(_))));
    assert_eq!(reader.value(), Some(&common()));

    let doubling = vec![json!({ "op": "copy", "from": "/tracks", "path": "/tracks/0/x" }); 200];
    let error = reader.frame(Value::from(doubling).to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, Error::TooLong(_) | Error::TooDeep), "{error}");
    let many = vec![json!({ "op": "remove", "path": "/x" }); MAX_OPERATIONS + 1];
    let error = reader.frame(Value::from(many).to_string().as_bytes()).unwrap_err();
    assert_eq!(error, Error::TooManyOperations(MAX_OPERATIONS + 1));
    assert_eq!(reader.value(), Some(&common()));
}

#[test]
fn what_readers_would_refuse_is_not_published() {
    let track = |name: &str| Track::new(name, Kind::Video, "vp8");
    let broadcast = |tracks: Vec<Track>| Broadcast { tracks, ..Broadcast::default() };
    for (tracks, words) in [
        (vec![track("a"), track("a")], "two tracks are named \"a\""),
        (vec![track("")], "it has no name"),
        (vec![track("a/../b")], "leads elsewhere"),
        (vec![Track::new("a", Kind::Audio, "opus")], "without its sample rate"),
        (vec![Track { packaging: Packaging::Cmaf, ..track("a") }], "init segment is missing"),
        (vec![Track { framerate: Some(f64::NAN), ..track("a") }], "frame rate"),
        ((0..=MAX_TRACKS).map(|at| track(&at.to_string())).collect(), "at most 256 tracks"),
    ] {
        let error = Format::Hang.write(&broadcast(tracks)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

fn any_track() -> impl Strategy<Value = Track> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from));
    let numbers = (proptest::option::of(1..8000_u32), proptest::option::of(1..120_u32), any::<Option<u32>>());
    let source = proptest::option::of((1..90_000_u32, 0..5000_u64, 0..3_u32));
    (any::<bool>(), bytes(), numbers, 1..200_000_u32, 1..9_u32, source, proptest::option::of("[a-z ]{0,9}"))
        .prop_map(|(video, description, (size, rate, bitrate), sample_rate, channels, source, label)| {
            let (kind, codec) = if video { (Kind::Video, "vp09.00.10.08") } else { (Kind::Audio, "opus") };
            let when = |value: Option<u32>| value.filter(|_| video);
            Track {
                description,
                width: when(size),
                height: when(size),
                framerate: when(rate).map(f64::from),
                bitrate: bitrate.map(u64::from),
                sample_rate: (!video).then_some(sample_rate),
                channels: (!video).then_some(channels),
                label,
                source: source.map(|(timescale, media_time, shift)| Source {
                    timescale: timescale.try_into().unwrap(),
                    media_time,
                    shift,
                }),
                ..Track::new("", kind, codec)
            }
        })
}

proptest! {
    #[test]
    fn a_broadcast_survives_each_format(tracks in proptest::collection::vec(any_track(), 1..6)) {
        let named = tracks.into_iter().enumerate().map(|(at, track)| Track { name: format!("t{at}"), ..track });
        let mut broadcast = Broadcast { tracks: named.collect(), ..Broadcast::default() };
        for format in Format::ALL {
            let written = format.write(&broadcast).unwrap();
            let mut read = Reader::new(format).frame(written.as_bytes()).unwrap();
            read.tracks.sort_by(|a, b| a.name.cmp(&b.name));
            broadcast.tracks.sort_by(|a, b| a.name.cmp(&b.name));
            prop_assert_eq!(&read, &broadcast);
        }
    }

    #[test]
    fn any_text_is_a_catalog_or_an_error(text in r#"[\[\]{}":,a-z0-9 ]{0,80}"#) {
        for format in Format::ALL {
            let _ = Reader::new(format).frame(text.as_bytes());
        }
    }
}
