//! Which names of clients are one: hosts call themselves by their full name or by its first label.

/// The part of a host's name before the first dot.
fn first_label(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'.').next().unwrap_or_default()
}

/// Whether the name of an SM_NOTIFY is that of a client with this caller_name.
pub(in crate::metadata) fn is_name_of(name: &[u8], caller_name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(caller_name)
        || name.eq_ignore_ascii_case(first_label(caller_name))
        || first_label(name).eq_ignore_ascii_case(caller_name)
}

/// Whether these are one name.
pub(in crate::metadata) fn only_name<N: PartialEq>(mut names: impl Iterator<Item = N>) -> bool {
    let first = names.next();
    names.all(|name| Some(name) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_first_label_are_one() {
        for (name, caller_name, expected) in [
            ("host", "host", true),
            ("HOST", "host", true),
            ("host.example.org", "host", true),
            ("host", "host.example.org", true),
            ("host.example.org", "host.example.net", false),
            ("other", "host", false),
            ("", "host", false),
            ("host2", "host", false),
        ] {
            assert_eq!(is_name_of(name.as_bytes(), caller_name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn one_name_may_come_several_times() {
        assert!(only_name(["a", "a"].iter()));
        assert!(!only_name(["a", "b"].iter()));
    }
}
