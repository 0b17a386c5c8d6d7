//! Tests of the command line: what is accepted, what is refused, and the help to the letter.

use std::path::Path;

use super::*;

fn parse(line: &str) -> Result<clap::ArgMatches, clap::Error> {
    command().try_get_matches_from(line.split_whitespace())
}

#[test]
fn the_grammar_is_consistent() {
    command().debug_assert();
}

#[test]
fn documented_commands_are_accepted() {
    for line in [
        "moqt pub https://relay/ a/b",
        "moqt pub moqf://relay:4443 a --input f --format lines --group-frames 3 --linger 0",
        "moqt pub http://localhost:4443/ a --frame-size 1200 --group-every 2s --rate 5M --wait-subscriber",
        "moqt pub -v https://relay/ a --start-after 150ms",
        "moqt sub https://relay/ a%2Fb/c --from 7 --to 9 --order desc --priority 255 --format json",
        "moqt sub https://relay/ a --from latest --no-wait --strict --reconnect 0 --output f -q",
        "moqt sub https://relay/ a --tls-root f --tls-root g --tls-disable-verify --transfork-04 rs9",
        "moqt sub https://relay/ a --congestion bbr",
        "moqt fetch https://relay/ a 7",
        "moqt fetch https://relay/ a 0 --frame 3 --priority 255 --format json --output f -q",
        "moqt info https://relay/ a --json",
        "moqt announced https://relay/",
        "moqt announced https://relay/ a/b/ --once --json",
        "moqt clock pub https://relay/",
        "moqt clock sub https://relay/ my/clock",
        "moqt bench https://relay/",
        "moqt bench https://relay/ --shape f4 --subscribers 3 --fps 25 --frame-bytes 100 --tracks 2 --json -",
        "moqt bench https://relay/ --role publish --name a/b --tracks 2 --priority 200,50 --swap-priorities-at 5s",
        "moqt bench https://relay/ --shape JOIN --join-every 100ms --join-stay 2s --stall 1 --congestion bbr",
        "moqt cert --hosts a,b --days 3 --out d",
        "moqt completions bash",
        "moqt relay --dev",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn wrong_usage_is_refused_with_status_2() {
    for line in [
        "moqt",
        "moqt fly",
        "moqt pub https://relay/",
        "moqt pub relay a",
        "moqt pub ftp://relay a",
        "moqt pub https://relay/ a//b",
        "moqt pub https://relay/ a%2",
        "moqt pub https://relay/ a --rate fast",
        "moqt pub https://relay/ a --frame-size 0",
        "moqt pub https://relay/ a --group-frames 0",
        "moqt pub https://relay/ a --group-frames 3 --group-every 1s",
        "moqt pub https://relay/ a --linger 10",
        "moqt sub https://relay/ a --priority 256",
        "moqt sub https://relay/ a --from first",
        "moqt sub https://relay/ a --order random",
        "moqt sub https://relay/ a --format clock",
        "moqt sub https://relay/ a --tls-fingerprint 12",
        "moqt sub https://relay/ a -q -v",
        "moqt fetch https://relay/ a",
        "moqt fetch https://relay/ a latest",
        "moqt fetch https://relay/ a -1",
        "moqt fetch https://relay/ a 4611686018427387904",
        "moqt fetch https://relay/ a 7 --frame x",
        "moqt fetch https://relay/ a 7 --format clock",
        "moqt bench https://relay/ --shape V6",
        "moqt bench https://relay/ --frame-bytes 10",
        "moqt bench https://relay/ --role relay",
        "moqt cert --days 15",
        "moqt completions dos",
    ] {
        match parse(line) {
            Ok(_) => panic!("accepted: {line}"),
            Err(error) => assert_eq!(error.exit_code(), 2, "{line}"),
        }
    }
}

#[test]
fn every_option_has_an_environment_variable_of_its_own_or_of_all_clients() {
    fn check(command: &clap::Command, path: &str) {
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let long = arg.get_long().unwrap();
            if ["help", "version"].contains(&long) {
                continue;
            }
            let env = arg.get_env().unwrap_or_else(|| panic!("{path} --{long} has no variable"));
            assert!(env.to_string_lossy().starts_with("MOQT_"), "{path} --{long}");
        }
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            check(verb, &format!("{path} {}", verb.get_name()));
        }
    }
    check(&command(), "moqt");
}

/// The help of each verb is as in `tests/help`; `UPDATE_SNAPSHOTS=1` writes it there.
#[test]
fn the_help_is_as_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1");
    let mut seen = Vec::new();
    let mut differing = Vec::new();
    let mut compare = |name: String, mut command: clap::Command| {
        let text = command.render_long_help().to_string();
        let path = folder.join(format!("{name}.txt"));
        if update {
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n") != text {
            differing.push(name.clone());
        }
        seen.push(format!("{name}.txt"));
    };
    fn walk(command: &clap::Command, name: &str, compare: &mut impl FnMut(String, clap::Command)) {
        compare(name.to_owned(), command.clone());
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            walk(verb, &format!("{name}-{}", verb.get_name()), compare);
        }
    }
    let mut command = command().term_width(100);
    command.build();
    walk(&command, "moqt", &mut compare);
    assert!(differing.is_empty(), "help changed: {differing:?}; UPDATE_SNAPSHOTS=1 accepts it");

    let kept =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let stray: Vec<_> = kept.filter(|file| !seen.contains(file)).collect();
    assert!(stray.is_empty(), "no verb has this help: {stray:?}");
}
