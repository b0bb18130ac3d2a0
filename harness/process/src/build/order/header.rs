//! Reads the order of `_Py_DebugOffsets` from the text of CPython's header.

use framewalk::layout::FrameOwners;
use thiserror::Error;

/// Why a header does not give the order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It does not define the structure.
    #[error("it does not define struct _Py_DebugOffsets")]
    NoStructure,
    /// The structure does not start as it does in all versions.
    #[error("struct _Py_DebugOffsets does not start with `cookie`, `version` and `free_threaded`")]
    OtherStart,
    /// The structure has something whose size cannot be known from the text.
    #[error("in struct _Py_DebugOffsets, `{0}` is not a word of type uint64_t")]
    NotAWord(String),
}

/// The words behind `free_threaded`, each as `section.word`.
///
/// # Errors
/// See [`HeaderError`].
pub(super) fn words(text: &str) -> Result<Vec<String>, HeaderError> {
    let tokens = tokens(text);
    let mut tokens = tokens.iter().map(String::as_str).skip_while(|token| *token != "_Py_DebugOffsets").skip(1);
    // The first mention can be a declaration, or the name in a comment's place.
    loop {
        match tokens.next() {
            Some("{") => break,
            Some(_) => {
                if !tokens.by_ref().any(|token| token == "_Py_DebugOffsets") {
                    return Err(HeaderError::NoStructure);
                }
            }
            None => return Err(HeaderError::NoStructure),
        }
    }
    // Declarations end with a semicolon or, if they open a section, with a brace.
    let (mut all, mut section, mut declaration) = (Vec::new(), None::<usize>, Vec::new());
    for token in tokens {
        match token {
            "{" if section.is_none() && declaration.first() == Some(&"struct") => {
                section = Some(all.len());
                declaration.clear();
            }
            "}" if section.is_some() => declaration.push("}"),
            "}" if declaration.is_empty() => return after_header(all),
            ";" => {
                match (declaration.as_slice(), section) {
                    (["uint64_t", name], _) => all.push((*name).to_owned()),
                    (["}", name], Some(start)) => {
                        for word in all.iter_mut().skip(start) {
                            *word = format!("{name}.{word}");
                        }
                        section = None;
                    }
                    (["char", "cookie", "[", "8", "]", ..], None) if all.is_empty() => all.push("cookie".to_owned()),
                    (other, _) => return Err(HeaderError::NotAWord(other.join(" "))),
                }
                declaration.clear();
            }
            other => declaration.push(other),
        }
    }
    Err(HeaderError::NoStructure)
}

/// Removes the three words that every version starts with.
pub(super) fn after_header(mut all: Vec<String>) -> Result<Vec<String>, HeaderError> {
    if !all.iter().map(String::as_str).take(3).eq(["cookie", "version", "free_threaded"]) {
        return Err(HeaderError::OtherStart);
    }
    Ok(all.split_off(3))
}

/// The values of `enum _frameowner`, if the text defines it.
pub(super) fn owners(text: &str) -> Option<FrameOwners> {
    let tokens = tokens(text);
    let at =
        tokens.windows(3).position(|it| matches!(it, [a, b, c] if a == "enum" && b == "_frameowner" && c == "{"))?;
    let body: Vec<&str> = tokens.iter().skip(at + 3).map(String::as_str).take_while(|token| *token != "}").collect();
    let (mut members, mut next) = (Vec::new(), 0);
    for member in body.split(|token| *token == ",").filter(|member| !member.is_empty()) {
        let value = match member {
            [_] => next,
            [_, "=", value] => value.parse().ok()?,
            _ => return None,
        };
        members.push(((*member.first()?).to_owned(), value));
        next = value + 1;
    }
    by_name(&members)
}

/// The owners by the names of the enumeration's members.
pub(super) fn by_name(members: &[(String, u64)]) -> Option<FrameOwners> {
    let value = |name: &str| {
        let (_, value) = members.iter().find(|(member, _)| member.strip_prefix("FRAME_OWNED_BY_") == Some(name))?;
        u8::try_from(*value).ok()
    };
    let owners = FrameOwners {
        thread: value("THREAD")?,
        generator: value("GENERATOR")?,
        frame_object: value("FRAME_OBJECT")?,
        interpreter: value("INTERPRETER"),
        c_stack: value("CSTACK"),
    };
    (owners.interpreter.is_some() || owners.c_stack.is_some()).then_some(owners)
}

/// Identifiers, numbers and single punctuation characters, without comments and preprocessor lines.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut word) = (Vec::new(), String::new());
    let mut rest = text;
    let mut at_start = true;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") || at_start && first == '#' {
            // A backslash at the end of a line continues it.
            let end =
                rest.match_indices('\n').map(|(at, _)| at).find(|at| !rest.get(..*at).unwrap_or("").ends_with('\\'));
            end.unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else {
            0
        };
        if skipped == 0 && (first.is_ascii_alphanumeric() || first == '_') {
            word.push(first);
        } else if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if skipped == 0 && !first.is_whitespace() && !first.is_ascii_alphanumeric() && first != '_' {
            tokens.push(first.to_string());
        }
        at_start = first == '\n' || at_start && (first.is_whitespace() || skipped > 0);
        rest = rest.get(skipped.max(first.len_utf8())..).unwrap_or("");
    }
    tokens.extend((!word.is_empty()).then_some(word));
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r"
        #define _Py_DebugOffsets_INIT \
            { uint64_t wrong; }
        /* struct _Py_DebugOffsets { uint64_t wrong; }; */
        typedef struct _Py_DebugOffsets {
            char cookie[8] _Py_NONSTRING;
            uint64_t version;  // not a word;
            uint64_t free_threaded;
            struct _runtime_state { uint64_t size; uint64_t interpreters_head; } runtime_state;
            struct { uint64_t exc_value; } err_stackitem;
            struct _x{ uint64_t size; /* , */ } x;
        } _Py_DebugOffsets;
        enum _frameowner { FRAME_OWNED_BY_THREAD = 0, FRAME_OWNED_BY_GENERATOR, FRAME_OWNED_BY_FRAME_OBJECT = 2,
            FRAME_OWNED_BY_INTERPRETER = 3, FRAME_OWNED_BY_CSTACK = 4, };
    ";

    #[test]
    fn the_order_is_that_of_the_text() {
        let expected = ["runtime_state.size", "runtime_state.interpreters_head", "err_stackitem.exc_value", "x.size"];
        assert_eq!(words(TEXT).unwrap(), expected);
        let owners = owners(TEXT).unwrap();
        assert_eq!(owners, FrameOwners { c_stack: Some(4), ..FrameOwners::NEWEST });
    }

    #[test]
    fn what_has_no_known_size_is_refused() {
        for (from, to, error) in [
            (
                "uint64_t size; uint64_t inter",
                "uint32_t size; uint64_t inter",
                HeaderError::NotAWord("uint32_t size".into()),
            ),
            ("uint64_t exc_value;", "uint64_t a, b;", HeaderError::NotAWord("uint64_t a , b".into())),
            ("uint64_t version;", "", HeaderError::OtherStart),
            ("_Py_DebugOffsets {", "_Py_Other {", HeaderError::NoStructure),
        ] {
            let text = TEXT.replace(from, to);
            assert_eq!(words(&text), Err(error), "{from}");
        }
        let unfinished = TEXT.split("struct _x").next().unwrap();
        assert_eq!([words(""), words(unfinished)], [Err(HeaderError::NoStructure), Err(HeaderError::NoStructure)]);
        assert_eq!(owners("enum _frameowner { FRAME_OWNED_BY_THREAD = x };"), None);
    }
}
