//! Tests of the status table.

use super::*;

const DATA_OF_TWO: &str = r#"
[[row]]
id = "2"
group = "Data Model"
title = "Data Model"
what = "halves of a | pipe"
state = "planned"

[[row]]
id = "2.1"
group = "Data Model"
title = "Frame"
what = "sized"
state = "tested"
tests = ["a::one", "a::deep::two", "b::three"]
note = "soon more"
"#;

fn functions() -> BTreeMap<String, BTreeSet<String>> {
    let mut names = BTreeSet::new();
    functions_in(
        "proptest! { #[test] fn one(x in 0..3u8) {} }\nasync fn two() {} // fn four()\n",
        &mut names,
    );
    let three = BTreeSet::from(["three".to_owned()]);
    BTreeMap::from([("a".to_owned(), names), ("b".to_owned(), three)])
}

fn messages(data: &str) -> Vec<String> {
    let table = parse(data).unwrap();
    row_findings(&table, data, &functions()).iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
}

#[test]
fn rows_whose_tests_exist_are_fine() {
    assert!(messages(DATA_OF_TWO).is_empty());
}

#[test]
fn a_row_without_a_state_is_found_by_its_line() {
    let data = DATA_OF_TWO.replace("state = \"tested\"\n", "");
    assert_eq!(messages(&data), ["9: 2.1 Frame: has no state"]);
}

#[test]
fn a_state_that_is_none_is_found() {
    let data = DATA_OF_TWO.replace("\"planned\"", "\"done\"");
    assert_eq!(messages(&data), ["2: 2 Data Model: `done` is no state; there are planned, partial, tested"]);
}

#[test]
fn a_tick_without_a_test_is_found() {
    let data = DATA_OF_TWO.replace(r#"["a::one", "a::deep::two", "b::three"]"#, "[]");
    assert_eq!(messages(&data), ["9: 2.1 Frame: is called tested and names no test"]);
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    assert_eq!(
        messages(&DATA_OF_TWO.replace("a::one", "a::four")),
        ["9: 2.1 Frame: `a::four`: a has no `fn four`"]
    );
    assert_eq!(
        messages(&DATA_OF_TWO.replace("a::one", "c::one")),
        ["9: 2.1 Frame: `c::one`: there is no package c"]
    );
    assert_eq!(
        messages(&DATA_OF_TWO.replace("a::one", "one")),
        ["9: 2.1 Frame: `one` has not the form package::test"]
    );
}

#[test]
fn a_row_that_stands_twice_is_found() {
    let data = DATA_OF_TWO.replace("2.1", "2").replace("\"Frame\"", "\"Data Model\"");
    assert_eq!(messages(&data), ["9: 2 Data Model: stands here twice"]);
}

#[test]
fn the_markdown_has_a_row_each_and_counts_them() {
    let text = markdown(&parse(DATA_OF_TWO).unwrap());
    assert!(text.starts_with("2 rows: 1 tested, 0 partial, 1 planned."), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert_eq!(
        rows,
        [
            "| **2 Data Model** | planned | halves of a \\| pipe |  |",
            "| 2.1 Frame | ✅ tested | sized *(soon more)* | <details><summary>2 in a, 1 in b</summary>\
             a: `one`, `deep::two`<br>b: `three`</details> |",
        ]
    );
}

#[test]
fn a_group_without_a_row_of_its_own_gets_a_heading() {
    let text = markdown(&parse(&DATA_OF_TWO.replace("title = \"Data Model\"", "title = \"Other\"")).unwrap());
    assert!(text.contains("| **Data Model** | | | |\n| 2 Other |"), "{text}");
}

#[test]
fn writing_twice_changes_nothing_the_second_time() {
    let readme = format!("# A\n{BEGIN}\nold\n{END}\nrest\n");
    let once = replace(&readme, "new\n").unwrap();
    assert_eq!(once, format!("# A\n{BEGIN}\n\nnew\n\n{END}\nrest\n"));
    assert_eq!(replace(&once, "new\n").unwrap(), once);
    assert_eq!(replace("# A\n", "new\n"), None);
}

#[test]
fn a_readme_that_says_something_else_is_found() {
    assert_eq!(readme_finding(None, "new\n").unwrap().message, "is missing");
    let stale = format!("# A\n{BEGIN}\nold\n{END}\n");
    let found = readme_finding(Some(&stale), "new\n").unwrap();
    assert_eq!(found.line, 2);
    assert!(found.message.contains("out of date"));
    let fresh = replace(&stale, "new\n").unwrap();
    assert_eq!(readme_finding(Some(&fresh), "new\n"), None);
}

#[test]
fn the_real_data_reads_and_each_row_has_a_state() {
    let data = read(DATA).unwrap();
    let table = parse(&data).unwrap();
    assert!(table.row.len() > 50);
    assert!(table.row.iter().all(|row| row.state.as_deref().is_some_and(|state| STATES.contains(&state))));
}
