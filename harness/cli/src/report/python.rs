//! Renders data as Python source, for generated files that run on any CPython.

use model::workload::grammar::{CallLines, Grammar};
use serde_json::Value;

/// A Python string literal. A JSON string is one.
pub(super) fn string(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A Python list, wrapped over as many lines as it needs.
pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = vec![String::new()];
    let mut several = false;
    for item in items {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + item.len() + 6 > WIDTH);
        if full {
            lines.push(String::new());
            several = true;
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&item);
            line.push(',');
        }
    }
    if several { format!("[\n    {}\n]", lines.join("\n    ")) } else { format!("[{}]", lines.concat()) }
}

/// The functions of a grammar: (name, file, first line, last line).
pub(super) fn functions(grammar: &Grammar) -> String {
    list(grammar.functions.iter().map(|function| {
        let (name, file) = (string(&function.name), string(&function.file));
        format!("({name}, {file}, {}, {})", function.first_line, function.last_line)
    }))
}

/// The contexts of a grammar: (function, caller or `None`, lines of the call or `None` for any).
pub(super) fn contexts(grammar: &Grammar) -> String {
    list(grammar.contexts.iter().map(|context| {
        let parent = context.parent.map_or("None".to_owned(), |parent| parent.to_string());
        let lines = match &context.called_from {
            CallLines::Anywhere => "None".to_owned(),
            CallLines::At(lines) => {
                let lines: String = lines.iter().map(|line| format!("{line}, ")).collect();
                format!("({})", lines.trim_end())
            }
        };
        format!("({}, {parent}, {lines})", context.function)
    }))
}

/// The program as a readable literal.
pub(super) fn program(source: &str) -> String {
    if source.contains("'''") || source.ends_with(['\\', '\'']) || source.contains('\r') {
        string(source)
    } else {
        format!("r'''{source}'''")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_literals_evaluate_to_the_program() {
        assert_eq!(program("a = '\\n'\nb\n"), "r'''a = '\\n'\nb\n'''");
        assert_eq!(program("a = ''''''"), "\"a = ''''''\"");
        assert_eq!(program("a\\"), "\"a\\\\\"");
    }

    #[test]
    fn long_lists_are_wrapped() {
        assert_eq!(list(["1", "2"].iter().map(ToString::to_string)), "[1, 2,]");
        assert_eq!(list(std::iter::empty()), "[]");
        let long = list((0..60).map(|number| format!("({number}, None, None)")));
        assert!(long.lines().count() > 10 && long.lines().all(|line| line.len() <= 104), "{long}");
        assert_eq!(long.matches("None)").count(), 60);
    }
}
