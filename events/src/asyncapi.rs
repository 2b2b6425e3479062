//! `docs/asyncapi.yaml` says what the messages look like: its schemas are those of the types, and its last part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{BillPaid, BillPaymentFailed, BillPaymentRequested, PayBill};

/// The schemas come after this line, as JSON, which is YAML, too.
const SCHEMAS: &str = "\n  schemas: ";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.yaml")
}

/// The text before the schemas, and the schemas, as they are in the file.
fn committed() -> (String, Map<String, Value>) {
    let text = fs::read_to_string(file()).unwrap();
    let (head, schemas) = text.split_once(SCHEMAS).unwrap();
    (head.to_owned(), serde_json::from_str(schemas).unwrap())
}

/// The schemas of the types.
fn generated() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft07();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    generator.subschema_for::<BillPaid>();
    generator.subschema_for::<BillPaymentFailed>();
    generator.subschema_for::<BillPaymentRequested>();
    generator.subschema_for::<PayBill>();
    generator.take_definitions(true)
}

fn without_description(field: &Value) -> Value {
    let mut field = field.clone();
    field.as_object_mut().map(|it| it.remove("description"));
    field
}

/// What is wrong with a change from the schema `old` to `new`, for events or consumers of one of the versions.
fn breaking(what: &str, old: &Value, new: &Value) -> Vec<String> {
    let required = |schema: &Value, name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|it| it == name))
    };
    let none = Map::new();
    let old_fields = old["properties"].as_object().unwrap_or(&none);
    let new_fields = new["properties"].as_object().unwrap_or(&none);
    let mut breaking = Vec::new();
    for (name, field) in old_fields {
        let Some(changed) = new_fields.get(name) else {
            breaking.push(format!(
                "{what} has no field {name} any more: consumers of the former version may need it"
            ));
            continue;
        };
        if without_description(field) != without_description(changed) {
            breaking.push(format!(
                "{what}: what the field {name} may be has changed: one version can't read the other's events"
            ));
        }
        if required(old, name) && !required(new, name) {
            breaking.push(format!("{what}: the field {name} may be left out now: consumers of the former version need it"));
        }
    }
    for name in new_fields.keys() {
        if required(new, name) && !required(old, name) {
            breaking.push(format!(
                "{what}: the field {name} is required now: events of the former version lack it"
            ));
        }
    }
    breaking
}

#[test]
fn the_schemas_in_the_document_are_those_of_the_types() {
    let (head, old) = committed();
    let new = generated();
    let breaking: Vec<String> = old
        .iter()
        .flat_map(|(name, schema)| breaking(name, schema, new.get(name).unwrap_or(&Value::Null)))
        .collect();
    assert!(
        breaking.is_empty(),
        "a breaking change. Undo it, or make another event type (docs/api.md, \"Versions\"):\n{}",
        breaking.join("\n")
    );
    if old != new {
        let schemas = serde_json::to_string_pretty(&new)
            .unwrap()
            .replace('\n', "\n    ");
        let path = file().with_extension("yaml.new");
        fs::write(&path, format!("{head}{SCHEMAS}{schemas}\n")).unwrap();
        panic!(
            "the schemas have changed, and nothing breaks. If that is what you want: mv docs/asyncapi.yaml.new docs/asyncapi.yaml"
        );
    }
}

#[test]
fn the_golden_files_are_valid_by_the_schemas_in_the_document() {
    let (_, schemas) = committed();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut checked = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let event_type = name.split('.').next().unwrap();
        let event = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let schema = json!({
            "$ref": format!("#/components/schemas/{event_type}"),
            "components": { "schemas": schemas },
        });
        let schema = jsonschema::validator_for(&schema).unwrap();
        let errors = schema.iter_errors(&event).map(|error| error.to_string());
        assert_eq!(errors.collect::<Vec<_>>(), [""; 0], "{name}");
        // A schema that allows anything would prove nothing.
        assert!(!schema.is_valid(&json!({ "payment_id": 1 })), "{name}");
        checked.insert(event_type.to_owned());
    }
    assert!(
        schemas
            .keys()
            .all(|name| name == "Payee" || checked.contains(name)),
        "{checked:?}"
    );
}

#[test]
fn what_breaks_an_event_is_told_from_what_does_not() {
    let schemas = generated();
    let said = |of: &str, change: &dyn Fn(&mut Value)| {
        let mut new = schemas[of].clone();
        change(&mut new);
        breaking(of, &schemas[of], &new).join("\n")
    };
    let remove = |new: &mut Value| {
        new["properties"].as_object_mut().unwrap().remove("receipt");
    };
    let require = |new: &mut Value| {
        new["properties"]["fee"] = json!({ "type": "string" });
        new["required"].as_array_mut().unwrap().push(json!("fee"));
    };
    let retype = |new: &mut Value| new["properties"]["provider"]["type"] = json!("integer");
    let allow_missing = |new: &mut Value| new["required"] = json!([]);
    let add = |new: &mut Value| new["properties"]["fee"] = json!({ "type": "string" });
    for (of, change, expected) in [
        (
            "BillPaid",
            &remove as &dyn Fn(&mut Value),
            "BillPaid has no field receipt any more",
        ),
        (
            "BillPaid",
            &require,
            "BillPaid: the field fee is required now",
        ),
        (
            "BillPaid",
            &allow_missing,
            "BillPaid: the field receipt may be left out now",
        ),
        (
            "Payee",
            &retype,
            "Payee: what the field provider may be has changed",
        ),
    ] {
        let said = said(of, change);
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(said("BillPaid", &add), "");
}
