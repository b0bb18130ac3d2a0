//! Readable JSON: values that fit on a line stay on one.

use serde_json::Value;

const WIDTH: usize = 100;

/// `value` as text that starts at column `indent`.
pub(super) fn text(value: &Value, indent: usize) -> String {
    let flat = flat(value);
    if indent + flat.len() <= WIDTH {
        return flat;
    }
    let inner = indent + 2;
    let lines = |open: char, parts: Vec<String>, close: char| {
        let separator = format!(",\n{:inner$}", "");
        format!("{open}\n{:inner$}{}\n{:indent$}{close}", "", parts.join(&separator), "")
    };
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{}: {}", string(name), text(value, inner));
            lines('{', fields.iter().map(field).collect(), '}')
        }
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
            lines('[', values.iter().map(|value| text(value, inner)).collect(), ']')
        }
        // Long lists of plain values are wrapped.
        Value::Array(values) => {
            let mut rows: Vec<String> = Vec::new();
            for value in values {
                let value = self::flat(value);
                match rows.last_mut() {
                    Some(row) if inner + row.len() + value.len() + 3 <= WIDTH => {
                        row.push_str(", ");
                        row.push_str(&value);
                    }
                    _ => rows.push(value),
                }
            }
            lines('[', rows, ']')
        }
        _ => flat,
    }
}

fn flat(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", string(name), flat(value)));
            format!("{{{}}}", join(fields.collect()))
        }
        Value::Array(values) => format!("[{}]", join(values.iter().map(flat).collect())),
        plain => plain.to_string(),
    }
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_filled_and_nothing_is_lost() {
        let value = json!({
            "numbers": (0..60).map(|number| number * 1000).collect::<Vec<_>>(),
            "deep": [{"a": [1, 2], "b": {"c": null, "d": "\"\u{7}\n€"}}, {"e": "x".repeat(120)}, [], {}],
            "short": {"yes": true},
        });
        let text = text(&value, 0);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() < 20, "{text}");
        assert!(lines.contains(&r#"  "short": {"yes": true}"#), "{text}");
        let long = lines.iter().filter(|line| line.len() > WIDTH + 1).count();
        assert_eq!(long, 1, "only the text of 120 characters is longer than a line: {text}");
    }
}
