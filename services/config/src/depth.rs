//! How deep a JSON text goes, before anything is built from it. Pure.

/// Objects and lists inside each other, in any request. No config of ours needs a quarter of it, and
/// whatever walks a config walks that deep.
pub(crate) const MAX_NESTING: usize = 64;

/// The path at which the text goes deeper than [`MAX_NESTING`]; `None` when it does not, also when it
/// is no JSON.
pub(crate) fn too_deep(text: &[u8]) -> Option<String> {
    let mut open: Vec<Open> = Vec::new();
    let mut bytes = text.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                if open.len() == MAX_NESTING {
                    let names: Vec<String> = open.iter().map(|open| open.name(text)).collect();
                    return Some(names.join("."));
                }
                open.push(if byte == b'{' {
                    Open::Object {
                        key: None,
                        expects_key: true,
                    }
                } else {
                    Open::List(0)
                });
            }
            b'}' | b']' => {
                open.pop();
            }
            b',' => match open.last_mut() {
                Some(Open::List(index)) => *index += 1,
                Some(Open::Object { expects_key, .. }) => *expects_key = true,
                None => {}
            },
            b'"' => {
                let end = end_of_string(&mut bytes)?;
                if let Some(Open::Object {
                    key,
                    expects_key: expects @ true,
                }) = open.last_mut()
                {
                    (*key, *expects) = (Some((at + 1, end)), false);
                }
            }
            _ => {}
        }
    }
    None
}

/// Position of the closing quote.
fn end_of_string(bytes: &mut impl Iterator<Item = (usize, u8)>) -> Option<usize> {
    loop {
        match bytes.next()? {
            (at, b'"') => return Some(at),
            (_, b'\\') => {
                bytes.next()?;
            }
            _ => {}
        }
    }
}

/// Something that is not closed yet, and where in it we are.
enum Open {
    Object {
        key: Option<(usize, usize)>,
        expects_key: bool,
    },
    List(usize),
}

impl Open {
    fn name(&self, text: &[u8]) -> String {
        match self {
            Self::List(index) => index.to_string(),
            Self::Object { key, .. } => {
                let key = key.and_then(|(start, end)| text.get(start..end));
                String::from_utf8_lossy(key.unwrap_or_default()).into_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_what_is_too_deep_is_named() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(too_deep(nested(MAX_NESTING).as_bytes()), None);
        let path = vec!["a"; MAX_NESTING].join(".");
        assert_eq!(too_deep(nested(MAX_NESTING + 1).as_bytes()), Some(path));
        let lists = format!("{{\"x\\\"}}]\":1,\"y\":[0,{}", "[".repeat(100));
        let path = too_deep(lists.as_bytes()).expect("too deep");
        assert!(path.starts_with("y.1.0.0"), "{path}");
        for broken in ["", "\"", "\"\\", "]]]", "{\"a"] {
            assert_eq!(too_deep(broken.as_bytes()), None, "{broken}");
        }
    }
}
