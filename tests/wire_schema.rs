//! Our message tables against the definitions inside Apache Kafka's own jars: APIs, versions, the order, names, types,
//! nullability, tags and defaults of fields, and where the flexible encoding begins.
//!
//! `tests/clients/schema` takes the definitions out of the jars, has Kafka list its error codes, and runs the ignored tests
//! here; the others hold the comparison itself to planted differences.

use klamm_core::wire::schema::{Field, Type};
use klamm_core::wire::{LeaderChangeMessage, MetadataRecord, SUPPORTED, error};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

/// Where we depart from Kafka's definitions, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "ApiVersionsRequest.client_software_name: default [255, 255], and not [0, 0]",
        "versions before 3 have none, and an empty one is refused from 3 on",
    ),
    (
        "ApiVersionsRequest.client_software_version: default [255, 255], and not [0, 0]",
        "versions before 3 have none, and an empty one is refused from 3 on",
    ),
    (
        "DeleteTopicsResponse.responses.name: default [255, 255], and not [0, 0]",
        "no topic has an empty name; it is always set in versions that cannot leave it out",
    ),
    (
        "FetchResponse.responses.partitions.records: default [0, 0, 0, 0], and not [255, 255, 255, 255]",
        "no records are no bytes, as Kafka's brokers send them; null would be its own serialiser's default",
    ),
    (
        "ListOffsetsRequest.replica_id: default [255, 255, 255, 255], and not [0, 0, 0, 0]",
        "-1 says that a consumer asks; in Kafka the one who asks has to set it",
    ),
    (
        "MetadataRequest.topics.name: default [255, 255], and not [0, 0]",
        "no topic has an empty name; versions that cannot leave it out always carry it",
    ),
    (
        "MetadataRequest.topics: default [255, 255, 255, 255], and not [0, 0, 0, 0]",
        "none named are all, which version 0 says with an empty list",
    ),
    (
        "MetadataResponse.topics.name: default [255, 255], and not [0, 0]",
        "no topic has an empty name; it is always set in versions that cannot leave it out",
    ),
];

/// Kafka's definitions under their names.
type Definitions = BTreeMap<String, Value>;

fn read(directory: &Path) -> Definitions {
    let mut definitions = Definitions::new();
    for entry in std::fs::read_dir(directory).expect("the folder of Kafka's definitions") {
        let path = entry.expect("an entry of the folder").path();
        let text = std::fs::read_to_string(&path).expect("a definition");
        let definition = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        definitions.insert(text_of(&definition["name"]).to_owned(), definition);
    }
    definitions
}

/// JSON with lines that are comments.
fn parse(text: &str) -> serde_json::Result<Value> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    serde_json::from_str(&lines.collect::<Vec<_>>().join("\n"))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `4`, `4-7`, `4+`; nothing and `none` are no version.
fn versions(value: &Value) -> RangeInclusive<i16> {
    let number = |text: &str| text.parse().expect("a version");
    match text_of(value) {
        "" | "none" => RangeInclusive::new(1, 0),
        text => match (text.split_once('-'), text.strip_suffix('+')) {
            (Some((from, to)), _) => number(from)..=number(to),
            (None, Some(from)) => number(from)..=i16::MAX,
            (None, None) => number(text)..=number(text),
        },
    }
}

/// `ThrottleTimeMs` as we write it.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// One message of Kafka's, and what was found of ours to be another.
struct Comparison<'a> {
    theirs: &'a Value,
    found: BTreeSet<String>,
}

impl<'a> Comparison<'a> {
    /// Compares a table in every version that is served; `valid` are those that Kafka serves.
    fn run(
        theirs: &'a Value,
        valid: RangeInclusive<i16>,
        ours: &[Field],
        served: RangeInclusive<i16>,
        flexible: i16,
    ) -> BTreeSet<String> {
        let mut comparison = Comparison { theirs, found: BTreeSet::new() };
        let name = text_of(&theirs["name"]);
        let first = *versions(&theirs["flexibleVersions"]).start();
        if served != valid {
            comparison.tell(name, &format!("versions {served:?} and not {valid:?}"));
        }
        if flexible != first {
            comparison.tell(name, &format!("flexible from {flexible} and not from {first}"));
        }
        for version in served {
            comparison.fields(name, version, ours, &theirs["fields"]);
        }
        comparison.found
    }

    fn tell(&mut self, at: &str, what: &str) {
        self.found.insert(format!("{at}: {what}"));
    }

    /// A structure's fields in one version: the plain ones in their order, then the tagged ones in that of their tags.
    fn fields(&mut self, at: &str, version: i16, ours: &[Field], theirs: &Value) {
        let mut here: Vec<&Field> = ours.iter().filter(|field| (field.present)(version)).collect();
        here.sort_by_key(|field| field.tag);
        let all = theirs.as_array().map(Vec::as_slice).unwrap_or_default();
        let tag = |field: &Value| {
            let tagged = versions(&field["taggedVersions"]).contains(&version);
            tagged.then(|| field["tag"].as_u64().expect("a tagged field has its tag"))
        };
        let mut there: Vec<&Value> = all.iter().filter(|f| versions(&f["versions"]).contains(&version)).collect();
        there.sort_by_key(|field| tag(field));
        let ours: Vec<_> = here.iter().map(|f| (f.name.to_owned(), f.tag.map(u64::from))).collect();
        let theirs: Vec<_> = there.iter().map(|f| (snake(text_of(&f["name"])), tag(f))).collect();
        if ours != theirs {
            return self.tell(at, &format!("fields in version {version} are {ours:?}, and not {theirs:?}"));
        }
        for (ours, theirs) in here.into_iter().zip(there) {
            self.field(&format!("{at}.{}", ours.name), version, ours, theirs);
        }
    }

    fn field(&mut self, at: &str, version: i16, ours: &Field, theirs: &Value) {
        let kind = text_of(&theirs["type"]);
        self.kind(at, version, &ours.ty, kind, theirs);
        let nullable = versions(&theirs["nullableVersions"]).contains(&version);
        if nullable != ((ours.nullable)(version) || matches!(ours.ty, Type::Optional(_))) {
            self.tell(at, &format!("null in version {version}: Kafka says {nullable}"));
        }
        let Some(default) = default(kind, &theirs["default"]) else { return };
        let given = (ours.default)();
        // Where Kafka gives no default, a value that may be null is "" or empty there and nothing here. Tagged fields
        // are left out at their default, so there it is on the wire.
        let nothing = theirs["default"].is_null() && nullable && ours.tag.is_none();
        if given != default && !(nothing && given.iter().all(|byte| *byte == 0xff)) {
            self.tell(at, &format!("default {given:?}, and not {default:?}"));
        }
    }

    fn kind(&mut self, at: &str, version: i16, ours: &Type, kind: &str, theirs: &Value) {
        let same = match (ours, kind.strip_prefix("[]")) {
            (Type::Array(ours), Some(kind)) => return self.kind(at, version, ours, kind, theirs),
            (_, Some(_)) => false,
            (Type::Optional(ours), None) => return self.kind(at, version, ours, kind, theirs),
            (Type::Struct(ours), None) => {
                let fields = match theirs["fields"].as_array() {
                    Some(_) => &theirs["fields"],
                    None => self.common(kind),
                };
                return self.fields(at, version, ours, fields);
            }
            (Type::Bool, None) => kind == "bool",
            (Type::Int8, None) => kind == "int8",
            (Type::Int16, None) => kind == "int16",
            (Type::Uint16, None) => kind == "uint16",
            (Type::Int32, None) => kind == "int32",
            (Type::Int64, None) => kind == "int64",
            (Type::Uuid, None) => kind == "uuid",
            (Type::String, None) => kind == "string",
            (Type::Bytes, None) => kind == "bytes" || kind == "records",
            (Type::Records, None) => kind == "records",
            (Type::Array(_), None) => false,
        };
        if !same {
            self.tell(at, &format!("{ours:?}, and not {kind}"));
        }
    }

    /// The fields of a structure that several fields of the message have.
    fn common(&self, name: &str) -> &'a Value {
        let all = self.theirs["commonStructs"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().find(|common| common["name"] == name).map_or(&Value::Null, |common| &common["fields"])
    }
}

/// A default of Kafka's as bytes; a structure's is that of its fields, unless it is null.
fn default(kind: &str, given: &Value) -> Option<Vec<u8>> {
    let text = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
    let null = given.is_null();
    let number = || match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).expect("a number"),
        None if null => 0,
        None => text.parse().expect("a number"),
    };
    Some(match kind {
        "bool" => vec![u8::from(text == "true")],
        "int8" => vec![number() as u8],
        "int16" | "uint16" => (number() as i16).to_be_bytes().to_vec(),
        "int32" => (number() as i32).to_be_bytes().to_vec(),
        "int64" => number().to_be_bytes().to_vec(),
        "uuid" => vec![0; 16],
        "string" if text == "null" && !null => vec![0xff; 2],
        "string" => {
            let text = if null { "" } else { &text };
            [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
        }
        "records" => vec![0xff; 4],
        _ if text == "null" && !null => vec![0xff; if kind.starts_with("[]") || kind == "bytes" { 4 } else { 1 }],
        _ if kind.starts_with("[]") || kind == "bytes" => vec![0; 4],
        _ => return None,
    })
}

/// Requests and responses of every API, the metadata records, the leader change and the headers.
fn differences(definitions: &Definitions) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let of = |name: String| definitions.get(&name).unwrap_or_else(|| panic!("Kafka has no {name}"));
    for api in SUPPORTED {
        for (kind, table) in [("Request", api.request), ("Response", api.response)] {
            let theirs = of(format!("{:?}{kind}", api.key));
            if theirs["apiKey"] != api.key as i16 {
                found.insert(format!("{:?}: key {}, and not {}", api.key, api.key as i16, theirs["apiKey"]));
            }
            // Kafka's brokers do not serve what the request's definition calls unstable.
            let unstable = i16::from(of(format!("{:?}Request", api.key))["latestVersionUnstable"] == true);
            let valid = versions(&theirs["validVersions"]);
            let valid = *valid.start()..=valid.end() - unstable;
            found.extend(Comparison::run(theirs, valid, table, api.served..=api.max, api.first_flexible));
        }
    }
    for (key, newest, table) in MetadataRecord::SCHEMAS {
        let of_key = |d: &&Value| d["type"] == "metadata" && d["apiKey"] == *key;
        let theirs = definitions.values().find(of_key).unwrap_or_else(|| panic!("Kafka has no metadata record {key}"));
        found.extend(Comparison::run(theirs, versions(&theirs["validVersions"]), table, 0..=*newest, 0));
    }
    found.extend(Comparison::run(of("LeaderChangeMessage".into()), 0..=1, LeaderChangeMessage::SCHEMA, 0..=1, 0));
    // The headers are no tables of ours, but what `frame.rs` says of them.
    let header = |name: &str| {
        let field = |f: &Value| format!("{} {}", text_of(&f["name"]), text_of(&f["type"]));
        of(name.into())["fields"].as_array().expect("fields").iter().map(field).collect::<Vec<_>>().join(", ")
    };
    for (name, ours) in [
        ("RequestHeader", "RequestApiKey int16, RequestApiVersion int16, CorrelationId int32, ClientId string"),
        ("ResponseHeader", "CorrelationId int32"),
    ] {
        if header(name) != ours {
            found.insert(format!("{name}: {ours}, and not {}", header(name)));
        }
    }
    let client = &of("RequestHeader".into())["fields"][3];
    if (text_of(&client["nullableVersions"]), text_of(&client["flexibleVersions"])) != ("1+", "none") {
        found.insert("RequestHeader.ClientId: may be null, and is never compact".into());
    }
    found
}

#[test]
#[ignore = "needs Kafka's definitions: tests/clients/schema"]
fn tables_are_those_of_kafka() {
    let directory = std::env::var("KLAMM_KAFKA_MESSAGES").expect("KLAMM_KAFKA_MESSAGES names the definitions' folder");
    let found = differences(&read(Path::new(&directory)));
    let known: BTreeSet<String> = DIFFERENCES.iter().map(|(what, _)| (*what).to_owned()).collect();
    let new: Vec<_> = found.difference(&known).cloned().collect();
    let gone: Vec<_> = known.difference(&found).cloned().collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "differences:\n{}\nno longer there:\n{}",
        new.join("\n"),
        gone.join("\n")
    );
    let tables = 2 * SUPPORTED.len() + MetadataRecord::SCHEMAS.len() + 1;
    println!("{tables} tables are those of Kafka, but for {} fields", known.len());
}

/// What is wrong with our error codes; `list` has a code and its name a line.
fn wrong_codes(list: &str, ours: impl Fn(i16) -> &'static str) -> Vec<String> {
    let line = |line: &str| line.split_once(' ').and_then(|(code, name)| Some((code.parse().ok()?, name.to_owned())));
    let theirs: BTreeMap<i16, String> =
        list.lines().map(|l| line(l).unwrap_or_else(|| panic!("no code: {l}"))).collect();
    let known = (i16::MIN..=i16::MAX).map(|code| (code, ours(code))).filter(|(_, name)| *name != "?");
    let wrong = known.filter(|(code, name)| theirs.get(code).is_none_or(|theirs| theirs != name));
    wrong.map(|(code, name)| format!("{code} is {:?} and not {name}", theirs.get(&code))).collect()
}

#[test]
#[ignore = "needs Kafka's error codes: tests/clients/schema"]
fn error_codes_are_those_of_kafka() {
    let path = std::env::var("KLAMM_KAFKA_ERRORS").expect("KLAMM_KAFKA_ERRORS names the list");
    let list = std::fs::read_to_string(path).expect("the list");
    assert_eq!(wrong_codes(&list, error::name), Vec::<String>::new());
}

#[test]
fn a_wrong_code_is_told() {
    let list = "-1 UNKNOWN_SERVER_ERROR\n0 NONE\n1 OFFSET_OUT_OF_RANGE\n";
    let ours = |code| match code {
        0 => "NONE",
        1 => "CORRUPT_MESSAGE",
        200 => "OF_OUR_OWN",
        _ => "?",
    };
    let told = ["1 is Some(\"OFFSET_OUT_OF_RANGE\") and not CORRUPT_MESSAGE", "200 is None and not OF_OUR_OWN"];
    assert_eq!(wrong_codes(list, ours), told);
}

/// A definition in Kafka's form, and the table that it describes.
const PLANTED: &str = r#"{
  // Version 2 has labels.
  "type": "data", "name": "Planted", "validVersions": "1-3", "flexibleVersions": "3+",
  "fields": [
    { "name": "NodeId", "type": "int32", "versions": "1+", "default": "-1" },
    { "name": "Labels", "type": "[]Label", "versions": "2+", "nullableVersions": "3+", "fields": [
      { "name": "Text", "type": "string", "versions": "2+" },
      { "name": "Peer", "type": "Peer", "versions": "3+" }
    ]},
    { "name": "MaxWaitMs", "type": "int64", "versions": "3+", "taggedVersions": "3+", "tag": 4, "default": "0x7f" }
  ],
  "commonStructs": [
    { "name": "Peer", "versions": "3+", "fields": [ { "name": "Port", "type": "uint16", "versions": "3+" } ] }
  ]
}"#;

const fn field(name: &'static str, ty: Type, present: fn(i16) -> bool, default: fn() -> Vec<u8>) -> Field {
    Field { name, ty, present, nullable: |_| false, tag: None, default }
}

static PEER: &[Field] = &[field("port", Type::Uint16, |version| version >= 3, || vec![0; 2])];
static LABEL: &[Field] = &[
    field("text", Type::String, |_| true, || vec![0; 2]),
    field("peer", Type::Struct(PEER), |version| version >= 3, || vec![0; 2]),
];
static LABELS: Type = Type::Array(&Type::Struct(LABEL));

fn planted(text: &str) -> Vec<String> {
    let ours = [
        field("node_id", Type::Int32, |_| true, || vec![0xff; 4]),
        Field { nullable: |version| version >= 3, ..field("labels", LABELS, |version| version >= 2, || vec![0xff; 4]) },
        Field {
            tag: Some(4),
            ..field("max_wait_ms", Type::Int64, |version| version >= 3, || vec![0, 0, 0, 0, 0, 0, 0, 0x7f])
        },
    ];
    let theirs = parse(text).expect("JSON");
    Comparison::run(&theirs, versions(&theirs["validVersions"]), &ours, 1..=3, 3).into_iter().collect()
}

#[test]
fn each_planted_difference_is_told() {
    let same = planted(PLANTED);
    let allowed = "Planted.labels: default [255, 255, 255, 255], and not [0, 0, 0, 0]";
    assert_eq!(same, [allowed], "in version 2 it may not be null");
    for (from, to, told) in [
        ("1-3", "1-4", "Planted: versions 1..=3 and not 1..=4"),
        ("3+\",\n  \"fields", "2+\",\n  \"fields", "Planted: flexible from 3 and not from 2"),
        ("NodeId", "BrokerId", "are [(\"node_id\", None)], and not [(\"broker_id\", None)]"),
        ("\"int32\"", "\"int64\"", "Planted.node_id: Int32, and not int64"),
        ("\"-1\"", "\"0\"", "Planted.node_id: default [255, 255, 255, 255], and not [0, 0, 0, 0]"),
        ("\"2+\", \"nullableVersions\": \"3+\"", "\"2+\"", "Planted.labels: null in version 3: Kafka says false"),
        ("\"[]Label\"", "\"Label\"", "Planted.labels: Array"),
        ("\"string\"", "\"[]string\"", "Planted.labels.text: String, and not []string"),
        ("\"Port\", \"type\": \"uint16\"", "\"Port\", \"type\": \"int16\"", "Planted.labels.peer.port: Uint16"),
        ("\"tag\": 4", "\"tag\": 5", "(\"max_wait_ms\", Some(5))"),
        ("\"taggedVersions\": \"3+\", ", "", "(\"max_wait_ms\", None)"),
        ("0x7f", "0x7e", "Planted.max_wait_ms: default"),
        (
            "\"Text\", \"type\": \"string\", \"versions\": \"2+\"",
            "\"Text\", \"type\": \"string\", \"versions\": \"3+\"",
            "Planted.labels: fields in version 2",
        ),
    ] {
        let text = PLANTED.replacen(from, to, 1);
        assert_ne!(text, PLANTED, "{from} is not there");
        let found = planted(&text);
        assert!(found.iter().any(|f| f.contains(told)), "{told}: {found:#?}");
    }
}
